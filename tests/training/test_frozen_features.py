"""A frozen network computes each image's features once, and the run is the same as without."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from inceptcli.data.loading.dataset import Features
from inceptcli.networks.network import Network
from inceptcli.networks.registry import network_options
from inceptcli.networks.summary import summarize
from inceptcli.recipe.file import override
from inceptcli.recipe.schema import check
from inceptcli.training import fine_tuning
from inceptcli.training.callbacks.utilization import training_flops
from inceptcli.training.plan import plan
from inceptcli.training.run_directory import RunDirectory
from inceptcli.weights.file import load_tensors
from tests.tiny_network import TINY_FLAGS
from tests.training.conftest import TINY, Train, random_weights
from tests.training.test_resume import assert_same_run, rows, stop_at, stop_in_validation
from tests.training.test_skipped import broken, listed, photographs

__all__ = ["photographs"]

HEAD_ONLY = {"network__freeze": "all-but-head", "augmentation__style": "none"}


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(random_weights(tmp_path_factory.mktemp("weights") / "start.safetensors"))


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of images in each forward pass of the whole network."""
    seen: list[int] = []
    original = Network.forward_stages

    def forward_stages(self: Network, pixels: torch.Tensor) -> Any:
        seen.append(len(pixels))
        return original(self, pixels)

    monkeypatch.setattr(Network, "forward_stages", forward_stages)
    return seen


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tuning, "MOST_FEATURE_BYTES", 0)


RECIPES: dict[str, dict[str, Any]] = {
    "plain": {
        "averaging__decay": 0.0, "network__dropout": 0.0, "trainer__validate_every": "3 steps",
    },
    "averaged, dropout, smoothing, an embedding": {
        "network__dropout": 0.5, "augmentation__label_smoothing": 0.2, "data__batch_size": 5,
        "trainer__accumulate_batches": 3, "network__name": "irv1-facenet",
    },
    "half precision, balanced": {
        "trainer__precision": "bf16-mixed", "optimizer": {"name": "sgd"},
        "data__sampling": "balanced",
    },
}  # fmt: skip


@pytest.mark.train
@pytest.mark.parametrize("name", RECIPES)
def test_the_run_is_the_one_that_computes_them_in_every_epoch(
    name: str, train: Train, tmp_path: Path, images: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "start.safetensors"
    random_weights(weights, RECIPES[name].get("network__name", "irv1"))
    changes = {"network__init": str(weights), "trainer__epochs": 3, **HEAD_ONLY, **RECIPES[name]}
    kept = train("kept", **changes)
    size = changes.get("data__batch_size", 4)
    assert sum(images) == -(-22 // size) * size + 10
    images.clear()
    without(monkeypatch)
    every_epoch = train("every epoch", **changes)
    assert sum(images) == 3 * (22 // size * size) + 10 * len(rows(every_epoch))
    assert_same_run(kept, every_epoch)
    dead_units = "dead_units.csv"
    assert (kept.path / dead_units).read_text() == (every_epoch.path / dead_units).read_text()
    start = load_tensors(weights)
    changed = {k for k, v in load_tensors(kept.weights).items() if not torch.equal(v, start[k])}
    assert changed == {"classifier.weight", "classifier.bias"}


@pytest.mark.train
@pytest.mark.parametrize("place", ["batch 7", "validation", "features"])
def test_a_stopped_run_computes_them_again_and_ends_with_the_same_weights(
    place: str, train: Train, whole_run: Train, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"network__init": weights, "network__dropout": 0.3, **HEAD_ONLY}
    undisturbed = whole_run(**changes)
    with monkeypatch.context() as patch:
        if place == "batch 7":
            stop_at(7, patch)
        elif place == "validation":
            stop_in_validation(1, 0, patch)
        else:
            add = Features.add

            def stop(self: Features, *found: Any) -> None:
                os.kill(os.getpid(), signal.SIGTERM)
                add(self, *found)

            patch.setattr(Features, "add", stop)
        with pytest.raises(SystemExit) as stopped:
            train("stopped", data__workers=int(place == "batch 7"), **changes)
    assert stopped.value.code == 75
    directory = train("stopped", **changes)
    assert_same_run(undisturbed, directory)
    log = (directory.path / "train.log").read_text()
    assert log.count("computed the features of 32 images") == 2 - (place == "features")
    assert log.count("features of the frozen network are computed once (0.1 MiB)") == 2


@pytest.mark.train
def test_unreadable_images_are_listed_and_replaced_as_without(
    train: Train, weights: str, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {
        "network__init": weights, "data__path": str(photographs), "data__max_skipped": 1.0,
        **HEAD_ONLY,
    }  # fmt: skip
    kept = train("kept", **changes)
    without(monkeypatch)
    every_epoch = train("every epoch", **changes)
    assert listed(kept.path) == listed(every_epoch.path) == broken(photographs)
    assert_same_run(kept, every_epoch)


@pytest.mark.parametrize(
    "changes",
    [
        {"network.freeze": "stem"},
        {"augmentation.style": "usual"},
        {"augmentation.style": "authors"},
        {"augmentation.mixup": 0.2},
        {"augmentation.cutmix": 1.0},
        {"trainer.limit_batches": 3},
    ],
    ids=str,
)
def test_features_that_change_or_are_not_all_needed_are_not_kept(
    changes: dict[str, Any], weights: str
) -> None:
    head_only = {key.replace("__", "."): value for key, value in HEAD_ONLY.items()}
    recipe = override({**TINY}, {"network.init": weights, **head_only})
    smooth = plan(check(override(recipe, {"augmentation.label_smoothing": 0.3})))
    assert fine_tuning.keeps_features(smooth)
    other = plan(check(override(recipe, changes)))
    assert not fine_tuning.keeps_features(other)
    assert fine_tuning.describe_features(other) is None


def test_too_many_features_are_said_to_be_computed_in_every_epoch(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dotted = {"network.init": weights, "network.freeze": "all-but-head"}
    recipe = check(override({**TINY}, {**dotted, "augmentation.style": "none"}))
    monkeypatch.setattr(fine_tuning, "MOST_FEATURE_BYTES", 32 * 448 * 4)
    assert fine_tuning.keeps_features(plan(recipe))
    monkeypatch.setattr(fine_tuning, "MOST_FEATURE_BYTES", 32 * 448 * 4 - 1)
    assert not fine_tuning.keeps_features(plan(recipe))
    line = fine_tuning.describe_features(plan(recipe))
    assert line is not None
    assert "computed in every epoch: they need 0.0 GiB, more than" in line


def test_kept_features_take_the_operations_of_the_classifier_alone() -> None:
    options = network_options("iv4", num_classes=7)
    (classifier,) = [s for s in summarize(options, (96, 96)).stages if s.name == "classifier"]
    assert classifier.multiply_adds == 1536 * 7
    assert training_flops(options, (96, 96), "all-but-head", kept=True) == 6 * 1536 * 7


@pytest.mark.system
def test_two_processes_keep_the_features_of_one(tmp_path: Path, weights: str) -> None:
    arguments = [
        *TINY_FLAGS, "--init", weights, "--freeze", "all-but-head", "--image-size", "75",
        "--set", "augmentation.style=none", "--epochs", "2",
        "--set", "data.train_size=22", "--set", "data.val_size=9",
        "--accelerator", "cpu", "--set", "network.dropout=0",
    ]  # fmt: skip
    runs = {1: ("--batch-size", "8"), 2: ("--batch-size", "4", "--strategy", "ddp")}
    for ranks, flags in runs.items():
        done = subprocess.run(
            [
                sys.executable, "-m", "inceptcli", "train", *arguments, "--devices", str(ranks),
                *flags, "--output", str(tmp_path / str(ranks)),
            ],
            capture_output=True, text=True, check=False, timeout=500,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert re.search("computed the features of 31 images in", done.stderr)
    one, two = (load_tensors(RunDirectory(tmp_path / str(ranks)).weights) for ranks in (1, 2))
    for key, tensor in one.items():
        torch.testing.assert_close(tensor, two[key], rtol=1e-4, atol=1e-6)
