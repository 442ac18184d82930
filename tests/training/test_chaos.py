"""Killed at random moments a run ends with the same weights; the large run is in chaos.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.chaos import EVERY_STEPS, TOTAL_STEPS, compare, steps_when_starting_over


@pytest.mark.system
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("SIGKILL", []),
        ("SIGTERM", ["--workers", "0"]),
        ("SIGUSR1", ["--workers", "1"]),
        ("SIGHUP", ["--workers", "3"]),
        ("Ctrl-C", []),
        ("Ctrl-C", ["--devices", "2", "--strategy", "ddp"]),
    ],
)
def test_a_run_stopped_at_random_moments_ends_with_the_same_weights(
    tmp_path: Path, name: str, flags: list[str]
) -> None:
    outcome = compare(tmp_path, kills=2, name=name, seed=1, flags=flags)
    assert outcome.kills == 2
    assert outcome.identical
    assert not outcome.tracebacks
    assert outcome.total <= outcome.steps <= outcome.allowed


@pytest.mark.system
def test_starting_over_each_time_would_be_seen(tmp_path: Path) -> None:
    steps = steps_when_starting_over(
        tmp_path, kills=2, name="SIGKILL", seed=0, flags=["--workers", "0"]
    )
    assert steps > TOTAL_STEPS + 2 * EVERY_STEPS  # what a run that resumes is allowed
