from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from inceptcli.data.loading import shared_memory
from inceptcli.data.loading.datamodule import ImageData
from inceptcli.data.loading.dataset import EvaluationDataset
from inceptcli.data.loading.shared_memory import Workers, affordable
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.pixels.shapes import Shapes
from inceptcli.training.failures import worker_ended


@pytest.mark.parametrize(
    ("free", "processes", "loaders", "workers"),
    [
        (90, 1, 1, Workers(4, 2)),  # four make two each, one is computed with
        (89, 1, 1, Workers(4, 1)),
        (50, 1, 1, Workers(4, 1)),
        (49, 1, 1, Workers(3, 1)),
        (20, 1, 1, Workers(1, 1)),
        (19, 1, 1, Workers(0, 1)),
        (0, 1, 1, Workers(0, 1)),
        (180, 2, 1, Workers(4, 2)),
        (100, 2, 1, Workers(4, 1)),
        (99, 2, 1, Workers(3, 1)),
        (170, 1, 2, Workers(4, 2)),
        (169, 1, 2, Workers(4, 1)),
        (89, 1, 2, Workers(3, 1)),
    ],
)
def test_batches_in_flight_fit_into_what_is_free(
    free: int,
    processes: int,
    loaders: int,
    workers: Workers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shared_memory, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert affordable(4, 10, processes, loaders) == workers


def test_without_workers_or_without_the_folder_nothing_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "disk_usage", lambda path: SimpleNamespace(free=0))
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    assert affordable(0, 10, 1, 1) == Workers(0, 2)
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path / "none")
    assert affordable(4, 10, 1, 1) == Workers(4, 2)


def _full() -> None:
    raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")


def test_a_worker_that_finds_shared_memory_full_ends_the_run_instead_of_blocking_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    size = (75, 75)
    images = Shapes(0, 40, size, "train")
    data = ImageData(images, images, nn.Identity(), Preprocessing(size), 4, Workers(1, 1), 0)
    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", lambda storage: _full())
    loader = data.loader(EvaluationDataset(images, data.preprocessing), batch_size=4)
    loader.timeout = 60
    with pytest.raises(RuntimeError, match=r"exited unexpectedly") as raised:
        next(iter(loader))
    assert "perhaps out of memory or of shared memory" in str(worker_ended(raised.value))
    told = capfd.readouterr().err
    assert "cannot hand over a batch: unable to allocate shared memory(shm): No space" in told


SMALL_SHARED_MEMORY = "mount -t tmpfs -o size=64m tmpfs /dev/shm && exec timeout -k 1 500 "
"""As in a container, whose default this is."""


@pytest.mark.system
def test_a_validation_within_an_epoch_fits_into_a_containers_shared_memory(tmp_path: Path) -> None:
    """Batches of 8.6 MB, of which the loaders of training and validation hold some at once."""
    mounting = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*mounting, SMALL_SHARED_MEMORY + "true"], check=False).returncode:
        pytest.skip("this machine does not let a user mount a file system")
    settings = [
        "network.width=0.25", "network.repeats=[1,1,1]", "data.train_size=400", "data.val_size=400",
        "trainer.limit_batches=10", "trainer.validate_every=5steps",
    ]  # fmt: skip
    command = [
        sys.executable, "-m", "inceptcli", "train", "--arch", "irv1", "--epochs", "1",
        "--batch-size", "32", "--image-size", "299", "--workers", "3",
        "--output", str(tmp_path / "run"), *(word for key in settings for word in ("--set", key)),
    ]  # fmt: skip
    run = subprocess.run(
        [*mounting, SMALL_SHARED_MEMORY + shlex.join(command)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 3
