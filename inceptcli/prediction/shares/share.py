"""The share of the images that this process predicts: I/N, or the task of a SLURM job."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from inceptcli.errors import UsageError
from inceptcli.processes.launchers import by_slurm, rank_and_size


class Share(NamedTuple):
    """Every `num_shards`-th image, starting with image `number`; both count from 0."""

    number: int
    num_shards: int

    def __str__(self) -> str:
        """Format as `--shard` takes it."""
        return f"{self.number}/{self.num_shards}"

    @classmethod
    def of(cls, text: str) -> Share:
        """Parse I/N or `auto`; raise UsageError for anything else."""
        if text == "auto":
            return _of_slurm(os.environ)
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not found or int(found[1]) >= int(found[2]):
            raise UsageError(f"--shard must be I/N with I from 0 to N - 1, or auto, got {text}")
        return cls(int(found[1]), int(found[2]))

    def rows(self, inputs: int) -> int:
        """Return the number of images of this share out of `inputs` images."""
        return len(range(self.number, inputs, self.num_shards))


def _of_slurm(names: Mapping[str, str]) -> Share:
    """Combine the task of a job array and the task of srun; either may be absent."""
    number, count = 0, 1
    if "SLURM_ARRAY_TASK_ID" in names:
        number, count = _in_array(*(int(names[f"SLURM_ARRAY_TASK_{part}"]) for part in _ARRAY))
    elif not by_slurm():
        raise UsageError("--shard auto: SLURM did not start this process; give I/N")
    tasks = int(names.get("SLURM_NTASKS", "1"))
    if tasks > 1:
        if "SLURM_STEP_ID" not in names:
            raise UsageError(
                f"--shard auto: the job has {tasks} tasks, which srun starts; put srun in front"
            )
        task, _ = rank_and_size()
        number, count = number * tasks + task, count * tasks
    return Share(number, count)


_ARRAY = ("ID", "MIN", "MAX", "COUNT")


def _in_array(task: int, first: int, last: int, count: int) -> tuple[int, int]:
    step, rest = divmod(last - first, count - 1) if count > 1 else (1, 0)
    number, between = divmod(task - first, step)
    if rest or between:
        raise UsageError(
            f"--shard auto: the {count} array tasks from {first} to {last} are not evenly spaced, "
            "so their shard numbers are unknown; give I/N"
        )
    return number, count
