"""Kill a training run at random moments and compare it with one that was left alone.

    python -m tests.training.chaos --kills 20 --signal SIGKILL -- --workers 3

What follows `--` goes to `inceptcli train`. Prints kills, steps and the verdict; exit code 1 when
the weights differ or more steps were done again than the checkpoints allow. With `--control` a run
that starts over after each kill has to do more than that.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterable
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

EVERY_STEPS = 3
TOTAL_STEPS = 72
TINY = [
    "--arch", "irv1", "--set", "network.repeats=[1, 1, 1]", "--image-size", "75", "--batch-size",
    "4", "--set", "data.val_size=10", "--accelerator", "cpu", "--epochs", "3",
    "--set", "data.train_size=96", "--set", f"checkpoint.every_steps={EVERY_STEPS}",
]  # fmt: skip


class Outcome(NamedTuple):
    """What a run came to: its steps counted one by one, its kills, its weights."""

    steps: int
    total: int
    kills: int
    identical: bool

    @property
    def allowed(self) -> int:
        """The most steps that so many kills may cost."""
        return self.total + self.kills * EVERY_STEPS


def start(folder: Path, flags: list[str]) -> subprocess.Popen[bytes]:
    """A training process, in a group of its own, that logs every step."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.chaos", "--worker", *TINY, *flags,
         "--output", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip


def steps_done(folder: Path) -> list[int]:
    """Every step that train.log has, in the order in which they were done."""
    log = folder / "train.log"
    return [int(step) for step in re.findall(r"did step (\d+)$", log.read_text(), re.MULTILINE)]


def killed(
    folders: Iterable[Path], kills: int, number: int, dice: random.Random, flags: list[str]
) -> int:
    """Train to the end, killed up to `kills` times after a random number of steps; the kills.

    Each start is in the next of `folders`.
    """
    done = 0
    for folder in folders:
        process = start(folder, flags)
        patience = _num_steps(folder) + dice.randint(1, 4 * EVERY_STEPS)
        while process.poll() is None:
            if done < kills and _num_steps(folder) >= patience:
                time.sleep(dice.random() / 5)
                os.killpg(process.pid, number)
                done += 1
                break
            time.sleep(0.02)
        if process.wait() == 0:
            return done
        if process.returncode not in (-number, 75):
            raise RuntimeError(f"left with {process.returncode}")
    raise AssertionError("no folder is left")


def _num_steps(folder: Path) -> int:
    return len(steps_done(folder)) if (folder / "train.log").is_file() else 0


def tensors(folder: Path) -> dict[str, Any]:
    """The best weights, and raw and averaged ones of the last checkpoint."""
    import torch
    from safetensors.torch import load_file

    newest = max((folder / "checkpoints").glob("*.ckpt"))
    checkpoint = torch.load(newest, weights_only=True)
    parts = ("state_dict", "current_model_state")
    return load_file(folder / "model.safetensors") | {
        f"{part}.{key}": tensor for part in parts for key, tensor in checkpoint[part].items()
    }


def compare(folder: Path, kills: int, number: int, seed: int, flags: list[str]) -> Outcome:
    """One run left alone and one that is killed, below `folder`."""
    import torch

    alone, disturbed = folder / "alone", folder / "disturbed"
    if start(alone, flags).wait() != 0:
        raise RuntimeError("the run that was left alone failed")
    done = killed(repeat(disturbed), kills, number, random.Random(seed), flags)
    expected, found = tensors(alone), tensors(disturbed)
    identical = expected.keys() == found.keys() and all(
        torch.equal(expected[key], found[key]) for key in expected
    )
    return Outcome(len(steps_done(disturbed)), len(steps_done(alone)), done, identical)


def steps_when_starting_over(
    folder: Path, kills: int, number: int, seed: int, flags: list[str]
) -> int:
    """Steps of a run that is killed alike and knows of no resume: each start has a new folder."""
    folders = [folder / f"start-{start}" for start in range(kills + 1)]
    killed(folders, kills, number, random.Random(seed), [*flags, "--resume", "never"])
    return sum(map(_num_steps, folders))


def work(arguments: list[str]) -> None:
    """`inceptcli train`, with a line in train.log for every optimizer step."""
    from inceptcli.cli.app import app
    from inceptcli.training.recorder import Recorder

    original = Recorder.on_train_batch_end

    def on_train_batch_end(self: Recorder, trainer: Any, *rest: Any) -> None:
        original(self, trainer, *rest)
        if (rest[-1] + 1) % trainer.accumulate_grad_batches == 0:
            self.directory.log(f"did step {trainer.global_step}")

    Recorder.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign,assignment]
    app(["train", *arguments])


def main() -> None:
    """Read the flags, run, say how it went."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--signal", choices=["SIGKILL", "SIGTERM"], default="SIGKILL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control", action="store_true")
    parser.add_argument("flags", nargs="*")
    chosen = parser.parse_args()
    with TemporaryDirectory() as name:
        folder, number = Path(name), signal.Signals[chosen.signal]
        arguments = (chosen.kills, number, chosen.seed, chosen.flags)
        outcome = compare(folder, *arguments)
        control = steps_when_starting_over(folder, *arguments) if chosen.control else None
    verdict = "identical" if outcome.identical else "DIFFERENT"
    print(
        f"{outcome.kills} x {chosen.signal} {' '.join(chosen.flags)}: weights {verdict}; "
        f"{outcome.steps} steps for {outcome.total}, {outcome.allowed} allowed"
    )
    fine = outcome.identical and outcome.kills == chosen.kills and outcome.steps <= outcome.allowed
    if control is not None:
        print(f"starting over each time: {control} steps")
        fine = fine and control > outcome.allowed
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2:])
    else:
        main()
