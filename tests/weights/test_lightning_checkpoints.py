"""Checkpoints that Lightning itself saved around timm's networks, and pickles of lost classes."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from inceptcli.weights.file import load_tensors, read_metadata
from inceptcli.weights.keys.timm_keys import INCEPTION_V4
from tests.cli.conftest import inceptcli
from tests.weights.foreign_files import numbered


class Theirs(LightningModule):
    """A module as people write it, around timm's network."""

    def __init__(self, arguments: Namespace, folder: Path, rate: Any) -> None:
        super().__init__()
        timm = pytest.importorskip("timm")
        self.save_hyperparameters()
        self.model: nn.Module = timm.create_model("inception_v4", num_classes=3)
        self.register_buffer("class_weights", torch.ones(3))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Any loss."""
        result: Tensor = self.model(batch).square().mean()
        return result

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Any optimizer."""
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.system
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("averaged", [False, True])
def test_a_checkpoint_of_lightning_around_a_network_of_timm(averaged: bool, tmp_path: Path) -> None:
    module = Theirs(Namespace(tags={"a"}), tmp_path, np.float64(0.1))
    callbacks: list[Callback] = [ModelCheckpoint(tmp_path, "last", save_last=False)]
    if averaged:
        average = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]
        callbacks.insert(0, WeightAveraging(multi_avg_fn=average))
    trainer = Trainer(
        accelerator="cpu", max_steps=2, callbacks=callbacks, logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, DataLoader(torch.rand(4, 3, 96, 96), batch_size=2))  # type: ignore[arg-type]
    source, output = tmp_path / "last.ckpt", tmp_path / "ours.safetensors"
    saved = torch.load(source, weights_only=False)
    assert saved["hyper_parameters"]["folder"] == tmp_path
    assert saved["callbacks"]
    done = inceptcli("import", source, "--output", output)
    assert done.exit_code == 0, done.output
    kind = "averaged weights" if averaged else "weights"
    assert f"using state_dict model.: {kind}\n" in done.stderr
    assert "skipped 1 other tensors: class_weights" in done.stderr
    assert read_metadata(output).averaged == averaged
    check_equal(output, saved["state_dict"])
    if averaged:
        assert "skipped current_model_state model.: raw weights (--raw" in done.stderr
        assert inceptcli("import", source, "--output", output, "--raw").exit_code == 0
        check_equal(output, saved["current_model_state"])
        key = "model.last_linear.weight"
        assert not torch.equal(saved["state_dict"][key], saved["current_model_state"][key])


def check_equal(weights: Path, state_dict: dict[str, Tensor]) -> None:
    ours = load_tensors(weights)
    for key, theirs in INCEPTION_V4.theirs(ours).items():
        assert torch.equal(ours[key], state_dict[f"model.{theirs}"]), key


def test_a_configuration_whose_classes_are_not_installed_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OmegaConf's: containers and nodes that refer to each other, made by their __reduce__."""
    written = ModuleType("someones_configuration")
    source = """
class Node:
    def __init__(self, value, parent):
        self.value, self.parent = value, parent

class Configuration(dict):
    def __reduce__(self):
        return (Configuration, (), self.__dict__, None, iter(self.items()))

class Items(list):
    pass
"""
    exec(source, vars(written))
    monkeypatch.setitem(sys.modules, written.__name__, written)
    fake: Any = written
    configuration = fake.Configuration()
    configuration.flags = {"readonly": None}
    configuration["rate"] = fake.Node(0.1, configuration)
    configuration["names"] = fake.Items(["a", fake.Node("b", configuration)])
    weights = numbered(INCEPTION_V4)
    for archive in (True, False):
        path = tmp_path / f"{archive}.ckpt"
        torch.save(
            {"hyper_parameters": configuration, "state_dict": weights},
            path,
            _use_new_zipfile_serialization=archive,
        )
    monkeypatch.delitem(sys.modules, written.__name__)
    for archive in (True, False):
        output = tmp_path / f"{archive}.safetensors"
        done = inceptcli("import", tmp_path / f"{archive}.ckpt", "--output", output)
        assert done.exit_code == 0, done.output
        assert "using state_dict: weights\n" in done.stderr
        ours = load_tensors(output)
        assert all(
            torch.equal(ours[key], weights[theirs].to(ours[key].dtype))
            for key, theirs in INCEPTION_V4.theirs(ours).items()
        )
    assert written.__name__ not in sys.modules
