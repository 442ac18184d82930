from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import DataLoader

from inceptcli.data import datamodule, shared_memory
from tests.training.conftest import Train

BATCH = 4 * 75 * 75 * 3


@pytest.mark.parametrize(
    ("batches", "found", "said"),
    [
        (2, {"num_workers": 1, "prefetch_factor": 1}, ["data.workers 1, not 2"]),
        (3, {"num_workers": 2, "prefetch_factor": 1}, []),
        (5, {"num_workers": 2, "prefetch_factor": 2}, []),
        (1, {"num_workers": 0, "prefetch_factor": None}, ["data.workers 0, not 2"]),
    ],
)
def test_a_run_has_no_more_workers_than_shared_memory_holds_batches(
    batches: int,
    found: dict[str, int],
    said: list[str],
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaders: list[dict[str, Any]] = []

    def loader(images: Any, **options: Any) -> DataLoader[Any]:
        loaders.append(options)
        alone = {"num_workers": 0, "prefetch_factor": None, "persistent_workers": False}
        return DataLoader(images, **{**options, **alone})

    free = SimpleNamespace(free=batches * BATCH)
    monkeypatch.setattr(shared_memory, "disk_usage", lambda path: free)
    monkeypatch.setattr(datamodule, "DataLoader", loader)
    lines: list[str] = []
    train(say=lines.append, data__workers=2, trainer__epochs=1)
    assert all(options[key] == value for options in loaders for key, value in found.items())
    assert len(loaders) == 2
    assert [line.partition(":")[0] for line in lines if line.startswith("data.workers")] == said
