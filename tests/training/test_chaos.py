"""Killed at random moments a run ends with the same weights; the large run is in chaos.py."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.training.chaos import compare, start, steps_done


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_killed_at_random_moments_ends_with_the_same_weights(
    tmp_path: Path, number: int
) -> None:
    outcome = compare(tmp_path, kills=3, number=number, seed=1, flags=["--workers", "0"])
    assert outcome.kills == 3
    assert outcome.identical
    assert outcome.total <= outcome.steps <= outcome.allowed


@pytest.mark.slow
def test_starting_over_each_time_would_be_seen(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for kill in (True, False):
        process = start(folder, ["--workers", "0"])
        while kill and process.poll() is None:
            if (folder / "train.log").is_file() and len(steps_done(folder)) >= 40:
                process.kill()
        process.wait()
        if kill:
            for checkpoint in (folder / "checkpoints").iterdir():
                checkpoint.unlink()
    assert len(steps_done(folder)) > 72 + 3  # what a run that resumes may take for one kill
