"""Workers leave the signals that stop a run to the main process."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import torch
from torch import nn

from inceptcli.data.loading.datamodule import ImageData
from inceptcli.data.loading.shared_memory import Workers
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.pixels.shapes import Shapes


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
