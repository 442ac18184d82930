from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from inceptcli.data.loading import shared_memory
from inceptcli.data.loading.shared_memory import Workers, affordable


@pytest.mark.parametrize(
    ("free", "processes", "workers"),
    [
        (90, 1, Workers(4, 2)),  # four make two each, one is computed with
        (89, 1, Workers(4, 1)),
        (50, 1, Workers(4, 1)),
        (49, 1, Workers(3, 1)),
        (20, 1, Workers(1, 1)),
        (19, 1, Workers(0, 1)),
        (0, 1, Workers(0, 1)),
        (180, 2, Workers(4, 2)),
        (100, 2, Workers(4, 1)),
        (99, 2, Workers(3, 1)),
    ],
)
def test_batches_in_flight_fit_into_what_is_free(
    free: int, processes: int, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shared_memory, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert affordable(4, 10, processes) == workers


def test_without_workers_or_without_the_folder_nothing_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "disk_usage", lambda path: SimpleNamespace(free=0))
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    assert affordable(0, 10, 1) == Workers(0, 2)
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path / "none")
    assert affordable(4, 10, 1) == Workers(4, 2)
