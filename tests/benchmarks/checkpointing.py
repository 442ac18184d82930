"""What does checkpointing cost? irv1 at 96 pixels, batches of 16, on drawn shapes.

    python -m tests.benchmarks.checkpointing

Times the optimizer steps and the saves of one run and prints the share of time that saving every
`checkpoint.every_steps` (the default) takes. Writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from inceptcli.recipe.schema import Recipe, check
from inceptcli.training.callbacks.checkpoints import ResumeCheckpoint
from inceptcli.training.module import Classifier
from inceptcli.training.plan import plan
from inceptcli.training.run import fit
from inceptcli.training.run_directory import RunDirectory
from tests.benchmarks.comparison import spread, write

STEPS, SAVES = 40, 8
DEFAULT = Recipe().checkpoint.every_steps


def main() -> None:
    """Train, time, print."""
    saves: list[float] = []
    starts: list[float] = []
    save, step = ResumeCheckpoint._save, Classifier.training_step

    def timed_save(self: ResumeCheckpoint, trainer: Any) -> None:
        start = time.perf_counter()
        save(self, trainer)
        saves.append(time.perf_counter() - start)

    def timed_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        starts.append(time.perf_counter() - sum(saves))
        return step(self, batch, batch_idx)

    ResumeCheckpoint._save = timed_save  # type: ignore[method-assign]
    Classifier.training_step = timed_step  # type: ignore[method-assign]
    recipe = {
        "network": {"name": "irv1"},
        "data": {"image_size": 96, "batch_size": 16, "train_size": 16 * STEPS, "val_size": 16},
        "trainer": {"epochs": 1, "accelerator": "cpu"},
        "checkpoint": {"every_steps": STEPS // SAVES},
    }
    with TemporaryDirectory() as folder:
        fit(plan(check(recipe)), RunDirectory(Path(folder) / "run"))
    steps = [later - earlier for earlier, later in pairwise(starts[2:])]
    seconds = {"step": spread(steps), "save": spread(saves)}
    share = statistics.median(saves) / (DEFAULT * statistics.median(steps))
    for name, values in seconds.items():
        print(
            f"{name}: median {values['median']:.3f} s, {values['min']:.3f} to {values['max']:.3f}"
        )
    print(f"saving every {DEFAULT} steps takes {share:.2%} of the time")
    found = {"threads": torch.get_num_threads(), "seconds": seconds}
    write("checkpointing", ("torch",), {**found, "every_steps": DEFAULT, "share": share})


if __name__ == "__main__":
    main()
