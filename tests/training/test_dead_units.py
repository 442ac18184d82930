"""A network killed on purpose is seen to be dead; a healthy one is not."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.multiprocessing.spawn import start_processes

from inceptcli.networks.network import Network
from inceptcli.networks.registry import NETWORKS, build, network_options
from inceptcli.networks.torch_modules import ResidualModule
from inceptcli.training import run
from inceptcli.training.callbacks.dead_units import DeadUnits, rectified_outputs, warning
from inceptcli.training.fine_tuning import starting_network
from inceptcli.training.run_directory import RunDirectory
from tests.training.conftest import Train
from tests.training.test_resume import stop_at

STAGES = ["stem", "inception_a", "reduction_a", "inception_b", "reduction_b", "inception_c"]


def kill(units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the first `units` of the last sum a bias that no input makes up for."""
    original = starting_network

    def killed(*arguments: Any) -> Network:
        network = original(*arguments)
        linear = network.get_submodule("inception_c.0.linear")
        assert isinstance(linear, nn.Conv2d)
        assert linear.bias is not None
        with torch.no_grad():
            linear.bias[:units] = -1e6
        return network

    monkeypatch.setattr(run, "starting_network", killed)


def dead_units(directory: RunDirectory) -> list[dict[str, str]]:
    with (directory.path / "dead_units.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def last_shares(directory: RunDirectory) -> list[float]:
    with (directory.path / "metrics.csv").open(newline="") as file:
        return [float(row["dead_units"]) for row in csv.DictReader(file)]


def test_a_healthy_network_is_recorded_and_nothing_is_said(
    train: Train, notices: list[str]
) -> None:
    directory = train("run")
    rows = dead_units(directory)
    assert [(row["epoch"], row["step"], row["stage"]) for row in rows] == [
        (epoch, step, stage) for epoch, step in (("1", "5"), ("2", "10")) for stage in STAGES
    ]
    assert all(0 <= float(row["share"]) < 0.9 for row in rows)
    assert last_shares(directory) == [
        float(row["share"]) for row in rows if row["stage"] == STAGES[-1]
    ]
    assert not [line for line in notices if "dying" in line or "died" in line]


def test_a_network_killed_on_purpose_is_said_to_have_died_once(
    train: Train, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    kill(448, monkeypatch)
    directory = train("run", network__residual_scales=[1.0, 1.0, 1.0])
    assert last_shares(directory) == [1.0, 1.0]
    (line,) = [line for line in notices if "died" in line]
    assert "inception_c" in line
    assert "network.residual_scales=[0.1,0.1,0.1]" in line
    assert (directory.path / "train.log").read_text().count(line) == 1
    assert not [line for line in notices if "dying" in line]


def test_a_network_that_is_nearly_dead_is_said_to_be_dying(
    train: Train, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    kill(447, monkeypatch)
    directory = train("run")
    (line,) = [line for line in notices if "dying" in line]
    assert "99.78% of the units of inception_c" in line
    assert last_shares(directory) == [0.997768, 0.997768]


def test_a_resumed_run_holds_no_step_twice(
    train: Train, whole_run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = whole_run()
    with monkeypatch.context() as patch:
        stop_at(7, patch)
        with pytest.raises(SystemExit):
            train("stopped")
    stopped = RunDirectory(tmp_path / "stopped")
    stopped.append_dead_units(2, 10, {"stem": 0.5})  # as of a run killed before its checkpoint
    assert dead_units(train("stopped")) == dead_units(undisturbed)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_stage_that_is_looked_at_is_rectified(name: str) -> None:
    shorter = {"repeats": (1, 1, 2)} if NETWORKS[name].repeats else {}
    network = build(network_options(name, num_classes=2, **shorter)).eval()
    looked_at = rectified_outputs(network)
    lowest: dict[str, float] = {}
    for stage, module in looked_at.items():
        module.register_forward_hook(
            lambda module, inputs, output, stage=stage: lowest.update({stage: float(output.min())})
        )
    with torch.inference_mode():
        network(torch.randn(2, 3, 75, 75))
    assert list(lowest) == list(looked_at)
    assert min(lowest.values()) >= 0
    assert list(looked_at) == list(network.figures)


def test_a_stage_without_a_rectified_output_is_left_out() -> None:
    options = network_options("irv1-facenet", num_classes=2, repeats=(1, 1, 1))
    network = build(options)
    (last,) = network.get_submodule("inception_c").children()
    assert isinstance(last, ResidualModule)
    assert not last.activation
    assert list(rectified_outputs(network)) == STAGES[:-1]


@pytest.mark.parametrize(
    ("name", "scales", "advice"),
    [
        ("irv2", (1.0, 1.0, 1.0), "residual_scales=[0.1,0.1,0.1]"),
        ("irv2", (0.17, 0.1, 0.2), "a lower --lr"),
        ("iv4", None, "a lower --lr"),
    ],
)
def test_the_advice_fits_the_network(
    name: str, scales: tuple[float, float, float] | None, advice: str
) -> None:
    line = warning({"stem": 0.0, "inception_c": 1.0}, network_options(name, residual_scales=scales))
    assert advice in line
    dying = warning({"inception_c": 0.995}, network_options(name, residual_scales=scales))
    assert dying.startswith("the network is dying: 99.50% of the units of inception_c, ")
    assert advice in dying


def count_on(rank: int, store: str, results: str) -> None:
    """Unit 0 is alive on rank 0, unit 2 on rank 1; then rank 0 has no image."""
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    trainer: Any = SimpleNamespace(world_size=2)
    found = []
    for has_images in (True, rank == 1):
        dead = DeadUnits(RunDirectory(Path(results)))
        if has_images:
            features = torch.zeros(3, 4, 2, 2)
            features[0, 2 * rank, 0, 1] = 1
            dead._update_alive("stem", nn.Identity(), None, torch.zeros_like(features))
            dead._update_alive("stem", nn.Identity(), None, features)
        dead.on_validation_epoch_end(trainer, LightningModule())
        found.append(dead.last_share)
    (Path(results) / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


@pytest.mark.system
def test_a_unit_that_is_alive_on_any_rank_is_alive(tmp_path: Path) -> None:
    arguments = str(tmp_path / "store"), str(tmp_path)
    start_processes(count_on, arguments, nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [0.5, 0.75]
