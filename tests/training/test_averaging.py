from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.multiprocessing.spawn import start_processes

from inceptcli.networks.registry import build
from inceptcli.recipe.schema import check
from inceptcli.training.callbacks.averaging import (
    ParameterAverage,
    SharedBatchNorm,
    trained_statistics,
)
from inceptcli.training.module import Classifier
from inceptcli.training.plan import plan
from inceptcli.weights.file import load_tensors, read_metadata, save
from tests.cli.conftest import inceptcli
from tests.training.conftest import TINY, Train
from tests.training.test_resume import rows, stop_at


def test_the_memory_of_the_average_warms_up() -> None:
    average = ParameterAverage(0.99, warm_up=True)
    assert [average.decay_at(update) for update in (0, 1, 90, 10_000)] == [
        0.1,
        2 / 11,
        0.91,
        0.99,
    ]
    assert ParameterAverage(0.99, warm_up=False).decay_at(0) == 0.99


def test_the_average_copies_no_list_of_images() -> None:
    planned = plan(check(TINY))
    module = Classifier(build(planned.network), planned)
    assert deepcopy(module).plan is planned


def test_parameters_and_statistics_are_averaged_and_counters_copied() -> None:
    network = nn.BatchNorm2d(1)
    assert network.running_var is not None
    assert network.num_batches_tracked is not None
    average, model = ParameterAverage(0.75, warm_up=False), nn.BatchNorm2d(1)
    average.pair(model, network)
    with torch.no_grad():
        for update, value in enumerate((1.0, 5.0)):
            network.weight.fill_(value)
            network.running_var.fill_(2 * value)
            network.num_batches_tracked.fill_(int(value))
            average.update(update)
    averaged = {name: tensor.item() for name, tensor in model.state_dict().items()}
    assert averaged["weight"] == 2.0  # 0.75 * 1 + 0.25 * 5
    assert averaged["running_var"] == 4.0
    assert averaged["num_batches_tracked"] == 5


def test_frozen_statistics_are_not_averaged_which_could_round_them() -> None:
    trained, frozen = nn.BatchNorm2d(1), nn.BatchNorm2d(1).eval()
    found = trained_statistics(nn.ModuleList([trained, frozen, nn.Conv2d(1, 1, 1)]))
    assert [id(tensor) for tensor in found] == [id(trained.running_mean), id(trained.running_var)]


def share_on(rank: int, store: str, results: str) -> None:
    """One of two processes with batch norm statistics of its own, before and after a step."""
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    module, sharing, found = LightningModule(), SharedBatchNorm(), []
    module.norms = nn.ModuleList([nn.BatchNorm2d(1), nn.BatchNorm2d(2)])
    variances: list[Any] = [norm.running_var for norm in module.norms]
    trainer: Any = SimpleNamespace(world_size=2, global_step=4)
    sharing.on_train_start(trainer, module)
    for step in (4, 5):
        trainer.global_step = step
        for place, variance in enumerate(variances):
            variance.fill_(10 * place + rank + 1)
        sharing.on_train_batch_end(trainer, module, None, None, 0)
        found += [variance.clone() for variance in variances]
    torch.save(torch.cat(found), f"{results}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.system
@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's, in the forked processes
def test_a_step_gives_every_rank_the_mean_statistics_of_all(tmp_path: Path) -> None:
    arguments = str(tmp_path / "store"), str(tmp_path)
    start_processes(share_on, arguments, nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]
    for rank, own in ((0, [1.0, 11.0, 11.0]), (1, [2.0, 12.0, 12.0])):
        shared = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert shared.tolist() == [*own, 1.5, 11.5, 11.5]  # an accumulated batch is no step


def test_eval_after_a_resume_gives_the_averaged_figures_of_the_epoch_that_the_file_names(
    train: Train, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    with monkeypatch.context() as patch:
        stop_at(7, patch)
        with pytest.raises(SystemExit):
            train()
    directory = train()
    metadata = read_metadata(directory.weights)
    assert metadata.averaged
    assert any("saving an exponential moving average" in line for line in notices)
    assert any(
        "continuing from step 8 with the saved weights and average" in line for line in notices
    )
    logged = next(row for row in rows(directory) if int(row["epoch"]) == metadata.epoch)
    done = inceptcli("eval", directory.path, "--format", "json")
    result = json.loads(done.stdout)
    assert result["top1"] == pytest.approx(float(logged["val_top1"]), abs=1e-6)
    assert result["loss"] == pytest.approx(float(logged["val_loss"]), rel=1e-4)

    raw = torch.load(directory.checkpoints()[-1], weights_only=True)["current_model_state"]
    tensors = {key: raw[f"network.{key}"] for key in load_tensors(directory.weights)}
    save(directory.weights, tensors, metadata)
    other = json.loads(inceptcli("eval", directory.path, "--format", "json").stdout)
    assert other["loss"] != pytest.approx(float(logged["val_loss"]), rel=1e-3)
