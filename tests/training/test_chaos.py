"""Killed at random moments a run ends with the same weights; the large run is in chaos.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.chaos import (
    EVERY_STEPS,
    compare,
    left_alone,
    steps_done,
    steps_when_starting_over,
)

pytestmark = pytest.mark.system

SHORT = ["--epochs", "2", "--set", "data.train_size=48"]
TWO_RANKS = ["--epochs", "2", "--devices", "2", "--strategy", "ddp"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of 24 steps; the number of workers changes nothing."""
    return left_alone(tmp_path_factory.mktemp("alone") / "run", SHORT)


@pytest.mark.parametrize(
    ("name", "kills", "seed", "flags"),
    [
        ("SIGKILL", 2, 1, []),
        ("SIGTERM", 1, 5, []),
        ("SIGUSR1", 1, 7, ["--workers", "0"]),
        ("SIGHUP", 1, 8, ["--workers", "3"]),
        ("Ctrl-C", 1, 9, []),
    ],
)
def test_a_run_stopped_at_random_moments_ends_with_the_same_weights(
    alone: Path, tmp_path: Path, name: str, kills: int, seed: int, flags: list[str]
) -> None:
    check(alone, tmp_path / "disturbed", kills, name, seed, [*SHORT, *flags])


def test_two_ranks_stopped_at_a_random_moment_end_with_the_same_weights(tmp_path: Path) -> None:
    alone = left_alone(tmp_path / "alone", TWO_RANKS)
    check(alone, tmp_path / "disturbed", 1, "Ctrl-C", 0, TWO_RANKS)


def check(alone: Path, disturbed: Path, kills: int, name: str, seed: int, flags: list[str]) -> None:
    outcome = compare(alone, disturbed, kills, name, seed, flags)
    assert outcome.kills == kills
    assert outcome.identical
    assert not outcome.tracebacks
    assert outcome.total <= outcome.steps <= outcome.allowed


def test_starting_over_each_time_would_be_seen(alone: Path, tmp_path: Path) -> None:
    steps = steps_when_starting_over(tmp_path, kills=1, name="SIGKILL", seed=0, flags=SHORT)
    assert steps > len(steps_done(alone)) + EVERY_STEPS  # what a run that resumes is allowed
