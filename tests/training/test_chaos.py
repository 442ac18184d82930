"""Killed at random moments a run ends with the same weights; the large run is in chaos.py."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.training.chaos import EVERY_STEPS, TOTAL_STEPS, compare, steps_when_starting_over


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
    steps = steps_when_starting_over(
        tmp_path, kills=2, number=signal.SIGKILL, seed=0, flags=["--workers", "0"]
    )
    assert steps > TOTAL_STEPS + 2 * EVERY_STEPS  # what a run that resumes is allowed
