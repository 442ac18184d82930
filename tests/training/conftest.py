from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.pixels.shapes import CLASSES
from inceptcli.networks.registry import build
from inceptcli.plots import run_curves
from inceptcli.recipe.file import override
from inceptcli.recipe.schema import check
from inceptcli.training.plan import plan
from inceptcli.training.run import fit
from inceptcli.training.run_directory import RunDirectory
from inceptcli.weights.file import save
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.tiny_network import TINY_NETWORK, tiny_options

TINY = {
    "network": TINY_NETWORK,
    "data": {"image_size": 75, "batch_size": 4, "workers": 0, "train_size": 22, "val_size": 10},
    "trainer": {"epochs": 2, "accelerator": "cpu"},
}


def random_weights(path: Path, name: str = "irv1") -> Path:
    """A weights file of the tiny network, of the classes of `shapes`, that was never trained."""
    torch.manual_seed(5)
    options = tiny_options(name, num_classes=len(CLASSES))
    classes = tuple(ClassName(name, name) for name in CLASSES)
    metadata = WeightsMetadata(options, classes, Preprocessing((75, 75)))
    save(path, build(options).state_dict(), metadata)
    return path


Train = Callable[..., RunDirectory]


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave curves.png empty: to draw it takes a third of a tiny run; test_curves.py draws it."""

    def draw(folder: Path, num_classes: int) -> None:
        (folder / "curves.png").touch()

    monkeypatch.setattr(run_curves, "draw_run_curves", draw)


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Trains a tiny network for two epochs of five batches.

    A change is a dotted recipe key (trainer__epochs) or a whole section.
    """
    return lambda name="run", **changes: trained(tmp_path / name, changes)


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """A run as `train` makes it that nothing disturbs, made once for each recipe; only to be read.

    A test asks for it before it changes anything of the program.
    """
    runs: dict[str, RunDirectory] = {}

    def run(**changes: Any) -> RunDirectory:
        key = repr(sorted(changes.items()))
        if key not in runs:
            runs[key] = trained(tmp_path_factory.mktemp("whole") / "run", changes)
        return runs[key]

    return run


def trained(folder: Path, changes: dict[str, Any]) -> RunDirectory:
    sections = {key: value for key, value in changes.items() if "__" not in key}
    dotted = {key.replace("__", "."): changes[key] for key in changes.keys() - sections}
    directory = RunDirectory(folder)
    fit(plan(check(override({**TINY, **sections}, dotted))), directory)
    return directory
