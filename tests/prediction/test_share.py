"""Which share is whose: I/N, and what SLURM says."""

from __future__ import annotations

import os
import re

import pytest

from inceptcli.errors import UsageError
from inceptcli.prediction.shares.share import Share


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)


def array(task: int, first: int, last: int, count: int) -> dict[str, str]:
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def task(number: int, tasks: int) -> dict[str, str]:
    return {"SLURM_PROCID": str(number), "SLURM_NTASKS": str(tasks), "SLURM_STEP_ID": "0"}


BATCH = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        (array(0, 0, 15, 16), (0, 16)),
        (array(7, 4, 7, 4), (3, 4)),
        (array(30, 10, 50, 5), (2, 5)),
        (array(4, 1, 7, 3), (1, 3)),
        (array(9, 9, 9, 1), (0, 1)),
        (array(1, 0, 2, 3) | task(3, 4), (7, 12)),
        (array(1, 0, 2, 3) | task(0, 1), (1, 3)),
        (task(2, 3), (2, 3)),
        (task(0, 1), (0, 1)),
    ],
)
def test_slurm_says_which_share(
    environment: dict[str, str], shard: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Share.of("auto") == shard


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "SLURM did not start this process; give I/N"),
        (BATCH, "the job has 4 tasks, which srun starts; put srun in front"),
        (array(0, 0, 1, 2) | BATCH, "the job has 4 tasks, which srun starts"),
        (array(2, 1, 7, 3), "3 array tasks from 1 to 7 are not evenly spaced"),
        (array(1, 1, 6, 3), "3 array tasks from 1 to 6 are not evenly spaced"),
    ],
)
def test_what_slurm_does_not_say_is_one_line(
    environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=re.escape(said)):
        Share.of("auto")


def test_a_shard_is_written_as_its_number_and_how_many_there_are() -> None:
    assert Share.of("0/1") == (0, 1)
    assert Share.of("15/16") == (15, 16)


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "1/0", "0/0", "1/2/3", "a/b", "1.0/2"])
def test_another_text_is_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"--shard must be I/N with I from 0 to N - 1, or auto"):
        Share.of(text)


@pytest.mark.parametrize("inputs", [0, 1, 2, 3, 7, 20_000])
def test_all_shards_have_all_pictures(inputs: int) -> None:
    assert sum(Share(number, 3).rows(inputs) for number in range(3)) == inputs
