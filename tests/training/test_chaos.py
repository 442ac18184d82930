"""Stopped at random moments a run ends with the same weights; the large run is in chaos.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from inceptcli.training.run_directory import RunDirectory
from tests.training.chaos import (
    CTRL_C,
    EVERY_STEPS,
    ONE_RANK,
    Stop,
    compare,
    left_alone,
    steps_done,
    steps_when_starting_over,
)
from tests.training.test_resume import assert_same_run

pytestmark = pytest.mark.system

IN_TURN = [
    Stop("SIGKILL"), Stop("SIGTERM"), Stop("SIGUSR1", ("--workers", "0")), Stop("SIGKILL"),
    Stop("SIGHUP", ("--workers", "3")), Stop(CTRL_C),
]  # fmt: skip
TWO_RANKS = ["--devices", "2", "--strategy", "ddp"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of 72 steps; the number of workers changes nothing."""
    return left_alone(tmp_path_factory.mktemp("alone") / "run", [])


def test_a_run_stopped_in_every_way_at_random_moments_ends_with_the_same_weights(
    alone: Path, tmp_path: Path
) -> None:
    check(alone, tmp_path / "disturbed", IN_TURN, 4, [])


def test_two_ranks_of_which_one_or_both_are_stopped_end_with_the_same_weights(
    tmp_path: Path,
) -> None:
    alone, disturbed = tmp_path / "alone", tmp_path / "disturbed"
    stops = [Stop(ONE_RANK), Stop(CTRL_C)]
    check(left_alone(alone, TWO_RANKS), disturbed, stops, 0, TWO_RANKS)
    assert "stopped by another process after step" in (disturbed / "train.log").read_text()


def check(alone: Path, disturbed: Path, stops: list[Stop], seed: int, flags: list[str]) -> None:
    outcome = compare(alone, disturbed, stops, seed, flags)
    assert outcome.stopped_by == [stop.signal for stop in stops]
    assert outcome.identical
    assert not outcome.tracebacks
    assert outcome.total <= outcome.steps <= outcome.allowed
    assert_same_run(RunDirectory(alone), RunDirectory(disturbed))


def test_starting_over_each_time_would_be_seen(alone: Path, tmp_path: Path) -> None:
    steps = steps_when_starting_over(tmp_path, [Stop("SIGKILL")], seed=0, flags=[])
    assert steps > len(steps_done(alone)) + EVERY_STEPS  # what a run that resumes is allowed
