"""A run that was stopped anywhere ends with the very weights of one that was left alone."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from inceptcli.data.loading.datamodule import batches_done
from inceptcli.errors import UsageError
from inceptcli.recipe.file import override
from inceptcli.recipe.schema import check
from inceptcli.training.module import Classifier
from inceptcli.training.plan import plan
from inceptcli.training.resuming import check_same_run, decide, differing_keys
from inceptcli.training.run_directory import RunDirectory
from inceptcli.weights.file import load_tensors, read_metadata
from tests.training.conftest import TINY, Train


def checkpoint(directory: RunDirectory) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(directory.checkpoints()[-1], weights_only=True)
    return loaded


def assert_same_run(left: RunDirectory, right: RunDirectory) -> None:
    ours, theirs = checkpoint(left), checkpoint(right)
    for part in ("state_dict", "current_model_state"):
        if part not in ours and part not in theirs:  # nothing is averaged
            continue
        assert ours[part].keys() == theirs[part].keys()
        for key, tensor in ours[part].items():
            assert torch.equal(tensor, theirs[part][key]), key
    for ours_best, theirs_best in zip(
        load_tensors(left.weights).items(), load_tensors(right.weights).items(), strict=True
    ):
        assert ours_best[0] == theirs_best[0]
        assert torch.equal(ours_best[1], theirs_best[1]), ours_best[0]
    assert read_metadata(left.weights).thresholds == read_metadata(right.weights).thresholds
    assert rows(left) == rows(right)


def lines_with(text: str, directory: RunDirectory) -> list[str]:
    log = (directory.path / "train.log").read_text()
    return [line for line in log.splitlines() if text in line]


def rows(directory: RunDirectory) -> list[dict[str, str]]:
    with (directory.path / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    for row in found:
        del row["seconds"], row["images_per_second"], row["model_flops_utilization"]
    return found


def stop_at(batches: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
    """Send this process a signal in the middle of a training step."""
    original = Classifier.training_step

    def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        if batches_done(self.trainer) == batches:
            os.kill(os.getpid(), number)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", training_step)


@pytest.mark.parametrize("batches", [0, 2, 3, 4, 5, 7])
def test_a_run_stopped_by_a_signal_resumes_to_the_same_weights(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    undisturbed = whole_run()
    with monkeypatch.context() as patch:
        stop_at(batches, patch)
        with pytest.raises(SystemExit) as stopped:
            train("stopped")
    assert stopped.value.code == 75
    assert_same_run(undisturbed, train("stopped"))


def stop_in_validation(epoch: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process SIGTERM in the middle of a validation step; epochs count from 1."""
    original = Classifier.validation_step

    def validation_step(self: Classifier, images: Any, batch_idx: int) -> None:
        if (self.trainer.current_epoch + 1, batch_idx) == (epoch, batch):
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, images, batch_idx)

    monkeypatch.setattr(Classifier, "validation_step", validation_step)


PLAIN = {"averaging__decay": 0.0, "trainer__accumulate_batches": 2}


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("changes", [{}, PLAIN], ids=["averaged", "plain"])
def test_a_run_stopped_in_its_validation_begins_with_that_validation(
    train: Train,
    whole_run: Train,
    monkeypatch: pytest.MonkeyPatch,
    epoch: int,
    changes: dict[str, Any],
) -> None:
    undisturbed = whole_run(**changes)
    with monkeypatch.context() as patch:
        stop_in_validation(epoch, 0, patch)
        with pytest.raises(SystemExit) as stopped:
            train("stopped", **changes)
    assert stopped.value.code == 75
    directory = train("stopped", **changes)
    (line,) = lines_with("stopped by", directory)
    assert ", before its validation; " in line
    (start,) = lines_with("start from step", directory)[1:]
    assert start.split()[-1] in line
    assert_same_run(undisturbed, directory)


def test_a_run_that_dies_in_its_last_validation_is_not_finished(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = whole_run()
    original = Classifier.validation_results

    def die(self: Classifier) -> dict[str, float]:
        if self.trainer.current_epoch == 1:
            raise ZeroDivisionError
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "validation_results", die)
        with pytest.raises(ZeroDivisionError):
            train("dead")
    assert_same_run(undisturbed, train("dead"))


def test_accumulation_is_never_cut_in_two(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = whole_run(trainer__accumulate_batches=2)
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(SystemExit):
            train("stopped", trainer__accumulate_batches=2)
    assert_same_run(undisturbed, train("stopped", trainer__accumulate_batches=2))


METHODS: dict[str, dict[str, Any]] = {
    "the paper's": {
        "optimizer": {"name": "rmsprop_tf"},
        "schedule": {"name": "staircase"},
        "augmentation": {
            "style": "authors", "brightness": 0.125, "contrast": 0.5, "saturation": 0.5, "hue": 0.2
        },
    },
    "momentum, layer decay, cosine, policy, erasing, mixing": {
        "optimizer": {"name": "sgd", "layer_decay": 0.8, "head_learning_rate": 0.2},
        "schedule": {"name": "cosine", "warmup_epochs": 0.5},
        "augmentation": {
            "policy": "randaugment", "erasing": 0.5, "mixup": 0.2, "cutmix": 1.0
        },
        "loss": {"class_weights": "balanced", "focal_gamma": 1.0},
        "data__sampling": "balanced",
    },
    "large batches, multi-label": {
        "optimizer": {"name": "lamb"},
        "augmentation": {"policy": "trivialaugment", "cutmix": 1.0},
        "averaging": {"decay": 0.9, "warm_up": False},
        "loss": {"name": "binary", "class_weights": [0.5] * 5 + [2.0] * 5},
        "data__shapes": "pairs",
    },
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_resumes_to_the_same_weights(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    undisturbed = whole_run(**METHODS[method])
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(SystemExit):
            train("stopped", **METHODS[method])
    assert_same_run(undisturbed, train("stopped", **METHODS[method]))
    averaging = {key: METHODS[method][key] for key in METHODS[method].keys() & {"averaging"}}
    plain = whole_run(**averaging)
    assert rows(plain) != rows(undisturbed)


@pytest.mark.train
def test_the_auxiliary_head_resumes_and_is_no_part_of_the_weights(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"image_size": 299, "batch_size": 2, "workers": 0, "train_size": 6, "val_size": 2}
    network = {"name": "irv2-tf", "repeats": [1, 1, 1], "width": 0.25, "auxiliary_weight": 0.4}
    changes = {"data": small, "network": network, "trainer__epochs": 1}
    undisturbed = whole_run(**changes)
    with monkeypatch.context() as patch:
        stop_at(1, patch)
        with pytest.raises(SystemExit):
            train("stopped", **changes)
    assert_same_run(undisturbed, train("stopped", **changes))
    assert any("auxiliary_head" in key for key in checkpoint(undisturbed)["state_dict"])
    assert not any("auxiliary" in key for key in load_tensors(undisturbed.weights))
    without = train("without", **{**changes, "network": {**network, "auxiliary_weight": None}})
    assert rows(without)[0]["train_loss"] != rows(undisturbed)[0]["train_loss"]


def test_the_number_of_workers_changes_nothing(train: Train, whole_run: Train) -> None:
    assert_same_run(whole_run(), train("fed", data__workers=2))


def test_another_seed_is_another_run(train: Train, whole_run: Train) -> None:
    assert rows(whole_run()) != rows(train("one", trainer__seed=1))


def test_a_finished_run_trains_nothing(train: Train) -> None:
    before = rows(train())
    assert rows(train()) == before


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    train: Train, whole_run: Train, notices: list[str]
) -> None:
    undisturbed = whole_run()
    directory = train("damaged")
    newest = directory.checkpoints()[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    assert_same_run(undisturbed, train("damaged"))
    assert any(newest.name in line and "damaged" in line for line in notices)


def test_nothing_is_written_outside_the_run_directory(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    directory = train()
    assert list(elsewhere.iterdir()) == []
    assert {path.name for path in directory.path.iterdir()} == {
        "checkpoints", "curves.png", "data.jsonl.gz", "dead_units.csv", "lock", "metrics.csv",
        "model.safetensors", "recipe.yaml", "train.log",
    }  # fmt: skip


def test_a_run_in_a_folder_of_any_name_resumes(train: Train, whole_run: Train) -> None:
    train("run\udce9", trainer__epochs=1)
    resumed = train("run\udce9", trainer__epochs=2)
    assert [row["step"] for row in rows(resumed)] == [row["step"] for row in rows(whole_run())]


def test_a_run_on_another_number_of_devices_is_refused(train: Train) -> None:
    directory = train(trainer__epochs=1)
    planned = plan(check(override(TINY, {"trainer.epochs": 2})))
    assert decide(planned, directory, 1).step == 5
    with pytest.raises(UsageError, match=r"trains on 1 device, not on 2: .*give it as many"):
        decide(planned, directory, 2)


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_run_without_its_recipe_is_not_continued(train: Train, resume: str) -> None:
    directory = train(trainer__epochs=1)
    (directory.path / "recipe.yaml").rename(directory.path / "kept.yaml")
    with pytest.raises(UsageError, match=r"recipe\.yaml, which records the recipe of the run"):
        check_same_run(directory, plan(check(TINY)), resume)


def test_more_images_may_be_unreadable_when_a_run_continues() -> None:
    changed = check(override(TINY, {"data.max_skipped": 0.5}))
    assert differing_keys(check(TINY), changed) == []


def test_more_epochs_follow_their_schedule_from_the_first_step(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []
    original = Classifier.training_step

    def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", training_step)
    settings = {"schedule__name": "cosine", "trainer__epochs": 4}
    train("whole", **settings)
    expected = list(rates)
    rates.clear()
    train("run", **{**settings, "trainer__epochs": 2})
    train("run", **settings)
    assert rates[10:] == expected[10:]


def test_a_run_does_not_end_where_it_was_not_validated(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"trainer__validate_every": 2}
    with monkeypatch.context() as patch:
        stop_at(14, patch)
        with pytest.raises(SystemExit):
            train(**settings, trainer__epochs=4)
    with pytest.raises(UsageError, match="--epochs 3: the run there was not validated after epoch"):
        train(**settings, trainer__epochs=3)
    assert [row["epoch"] for row in rows(train(**settings, trainer__epochs=4))] == ["2", "4"]
