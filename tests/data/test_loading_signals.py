"""Workers leave the signals that stop a run to the main process."""

from __future__ import annotations

import os
import subprocess
import time
from multiprocessing import current_process
from multiprocessing.connection import Client
from multiprocessing.resource_sharer import DupFd
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from inceptcli.data.loading.datamodule import ImageData
from inceptcli.data.loading.dataset import EvaluationDataset
from inceptcli.data.loading.shared_memory import Workers
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.pixels.shapes import Shapes


class Disconnecting(Shapes):
    """Images whose worker loses the process that would take a file descriptor from it."""

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        shared = DupFd(os.dup(0))
        address, _ = shared._id  # type: ignore[attr-defined]
        Client(address, authkey=bytes(current_process().authkey)).close()
        time.sleep(0.3)  # the thread that shares it has noticed by then
        return super().image(index, shorter_side)


def test_a_worker_says_nothing_of_a_main_process_that_left_at_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    images = Disconnecting(0, 2, (75, 75), "train")
    data = ImageData(images, images, nn.Identity(), Preprocessing((75, 75)), 2, Workers(1, 1), 0)
    assert len(list(data.loader(EvaluationDataset(images, data.preprocessing), batch_size=2))) == 1
    assert capfd.readouterr().err == ""


def test_a_worker_survives_the_signals_of_its_group_and_ends_with_its_main_process() -> None:
    size = (75, 75)
    images = Shapes(0, 40, size, "train")
    data = ImageData(images, images, nn.Identity(), Preprocessing(size), 4, Workers(1, 1), 0)
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=0, world_size=1, strategy=SimpleNamespace(root_device=torch.device("cpu"))
    )
    batches = iter(data.val_dataloader())
    next(batches)
    (worker,) = batches._workers  # type: ignore[attr-defined]
    for name in ("TERM", "INT", "HUP", "USR1"):  # from another process than the main one
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
        next(batches)
        assert worker.is_alive()
    worker.terminate()
    worker.join(60)
    assert worker.exitcode == 0
    del batches
