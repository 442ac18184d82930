"""Out of memory, out of disk, damaged checkpoints: one line, and the same command continues."""

from __future__ import annotations

import errno
import os
import random
import resource
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from inceptcli.cli.train import ending
from inceptcli.errors import UsageError, UserError
from inceptcli.recipe.schema import check
from inceptcli.training.module import Classifier
from inceptcli.training.plan import plan
from inceptcli.training.resuming import newest_whole
from inceptcli.training.run import fit
from inceptcli.training.run_directory import RunDirectory
from inceptcli.weights.file import read_metadata
from tests.training.conftest import TINY, Train
from tests.training.test_resume import assert_same_run, stop_at


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Writes fail beyond `size` bytes, as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def starts(directory: RunDirectory) -> list[int]:
    lines = (directory.path / "train.log").read_text().splitlines()
    return [int(line.rsplit(" ", 1)[1]) for line in lines if "start from step" in line]


# The first file that does not fit is a checkpoint, or the best weights after an epoch.
@pytest.mark.parametrize("every_steps", [1, 500], ids=["checkpoint", "weights"])
def test_a_full_disk_leaves_the_last_checkpoint_whole(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch, every_steps: int
) -> None:
    undisturbed = whole_run()
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(SystemExit):
            train("full")
    with no_file_larger_than(1_000_000), pytest.raises(UserError) as caught:
        train("full", checkpoint__every_steps=every_steps)
    message = str(caught.value)
    assert "full: cannot be written: File too large" in message
    assert "the same command continues" in message
    assert "\n" not in message
    directory = train("full")
    assert not list(directory.path.rglob("*.partial"))
    assert starts(directory) == [0, 3, 3]
    assert_same_run(undisturbed, directory)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs"]
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this user may not mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_run_on_a_small_disk_goes_on_when_there_is_room(
    train: Train, whole_run: Train, tmp_path: Path
) -> None:
    undisturbed = whole_run()
    disk = tmp_path / "disk"
    with small_disk(disk, megabytes=22):  # two checkpoints fit, a third does not
        with pytest.raises(UserError, match="No space left on device"):
            train("disk/run", checkpoint__every_steps=1)
        directory = RunDirectory(disk / "run")
        assert [int(path.stem[5:]) for path in directory.checkpoints()] == [1, 2]
        remount(disk, "size=60m")
        train("disk/run", checkpoint__every_steps=1)
        assert starts(directory) == [0, 2]
        assert_same_run(undisturbed, directory)
        remount(disk, "ro")
        with pytest.raises(UsageError, match=r"cannot be written: Read-only file system"):
            train("disk/run", trainer__epochs=3)


def test_a_checkpoint_cut_at_any_length_is_reported_and_set_aside(
    train: Train, notices: list[str]
) -> None:
    directory = train()
    older, newest = directory.checkpoints()
    aside = newest.with_name(f"{newest.name}.damaged")
    choose = random.Random(0)
    size = newest.stat().st_size
    for length in sorted((choose.randrange(size) for _ in range(20)), reverse=True):
        os.truncate(newest, length)
        notices.clear()
        found = newest_whole(directory)
        assert found is not None
        assert found.path == older
        (line,) = notices
        assert line.startswith(f"{newest} is damaged (")
        assert "\n" not in line
        aside.replace(newest)


def damage(checkpoint: Path) -> None:
    """Another byte in the middle of a tensor, as a bad disk gives."""
    with checkpoint.open("r+b") as file:
        file.seek(checkpoint.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def test_a_run_goes_on_from_before_damage_and_keeps_what_it_saves_then(
    train: Train, whole_run: Train
) -> None:
    constant = {"name": "constant"}  # which another number of epochs does not change
    undisturbed = whole_run(trainer__epochs=3, schedule=constant)
    directory = train("damaged", checkpoint__every_steps=1, schedule=constant)
    middle, newest = directory.checkpoints()
    assert [int(path.stem[5:]) for path in (middle, newest)] == [9, 10]
    damage(newest)
    train("damaged", trainer__epochs=3, schedule=constant)
    assert [int(path.stem[5:]) for path in directory.checkpoints()] == [10, 15]
    assert newest.with_name(f"{newest.name}.damaged").exists()
    assert_same_run(undisturbed, directory)


def test_a_run_whose_checkpoints_are_all_damaged_is_not_started_over(train: Train) -> None:
    directory = train()
    before = directory.weights.read_bytes()
    for path in directory.checkpoints():
        damage(path)
    for _ in range(2):
        with pytest.raises(UserError, match="has no intact checkpoint left"):
            train()
    assert "no intact checkpoint left" in (directory.path / "train.log").read_text()
    assert len(list(directory.path.glob("checkpoints/*.damaged"))) == 2
    assert directory.weights.read_bytes() == before


def test_a_run_stopped_in_its_first_epoch_is_not_started_over_without_its_checkpoint(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(SystemExit):
            train()
    for path in RunDirectory(tmp_path / "run").checkpoints():
        path.unlink()
    for _ in range(2):
        with pytest.raises(UserError, match="has no intact checkpoint left"):
            train()


@pytest.mark.parametrize("loss", ["gone", "cut"])
def test_best_weights_that_are_lost_are_never_called_there(
    train: Train, monkeypatch: pytest.MonkeyPatch, loss: str, notices: list[str]
) -> None:
    def lose(directory: RunDirectory) -> None:
        directory.weights.unlink() if loss == "gone" else os.truncate(directory.weights, 1000)

    with monkeypatch.context() as patch:
        # No later epoch is better than the first.
        patch.setattr(Classifier, "validation_results", worse_and_worse)
        directory = train()
        assert read_metadata(directory.weights).epoch == 1
        lose(directory)
        with pytest.raises(UserError, match="the run is finished, and its best weights are lost"):
            train()
        train(trainer__epochs=3)
    assert any("the best of the coming epochs replaces it" in line for line in notices)
    assert read_metadata(directory.weights).epoch == 3
    assert ending(directory)[0].startswith("best of 3 epochs: 3, top-1 25.00%")


def test_the_end_counts_validations_that_are_not_at_the_ends_of_epochs(train: Train) -> None:
    """As many as there are epochs."""
    directory = train(trainer__validate_every="6steps")
    assert [row["epoch"] for row in directory.read_metrics()] == ["1.2", "2"]
    assert ending(directory)[0].startswith("best of 2 validations: in epoch ")


def worse_and_worse(self: Classifier) -> dict[str, float]:
    top1 = 1 / (2 + self.trainer.current_epoch)
    return {"val_loss": 1.0, "val_top1": top1, "val_top5": 1.0}


def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = train()
    newest = directory.checkpoints()[-1]

    def refuse(self: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patch:
        patch.setattr("inceptcli.training.resuming.ZipFile.testzip", refuse)
        with pytest.raises(UserError, match=f"{newest.name}: cannot be read: Stale file handle"):
            train()
    assert directory.checkpoints()[-1] == newest
    with zipfile.ZipFile(newest, "w") as archive:
        archive.writestr("letter", "of somebody else")
    with pytest.raises(UserError, match=f"{newest.name}: is intact, but this version cannot"):
        train()
    assert directory.checkpoints()[-1] == newest


def test_what_ends_a_run_is_in_its_log(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(Classifier, "training_step", training_step)
    with pytest.raises(ZeroDivisionError):
        train()
    log = (tmp_path / "run/train.log").read_text()
    assert log.endswith(" ended: ZeroDivisionError: a mistake\n")
    assert "Traceback" in log


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_out_of_memory_says_what_to_try(
    train: Train, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        if device == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return torch.empty(1 << 55)

    monkeypatch.setattr(Classifier, "training_step", training_step)
    with pytest.raises(UserError) as caught:
        train()
    message = str(caught.value)
    assert "out of memory with batches of 4 images of 75x75 pixels in 32-true" in message
    for remedy in ("--batch-size", "--set trainer.accumulate_batches", "--precision"):
        assert remedy in message
    assert "\n" not in message


def test_other_errors_are_not_dressed_up(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Classifier, "training_step", training_step)
    with pytest.raises(RuntimeError, match="a mistake"):
        train()


def test_an_output_that_cannot_be_made_is_one_line() -> None:
    with pytest.raises(UsageError, match="--output /proc/run: cannot be written"):
        fit(plan(check(TINY)), RunDirectory(Path("/proc/run")))


def test_more_devices_than_a_batch_each_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan(check(TINY))  # 22 images in batches of 4
    monkeypatch.setattr(Trainer, "world_size", 8)
    with pytest.raises(UsageError, match=r"data.batch_size 4 on 8 device\(s\) is more than the 22"):
        fit(planned, RunDirectory(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
