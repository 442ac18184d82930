"""Stop a training run at random moments and compare it with one that was left alone.

    python -m tests.training.chaos --kills 20 --signal SIGTERM -- --workers 3
    python -m tests.training.chaos --kills 20 --signal Ctrl-C -- --devices 2 --strategy ddp

The signal goes to the whole group of processes, as from `timeout` or a batch system; Ctrl-C is
typed on a pseudo-terminal; "SIGTERM to a rank" goes to the last rank alone. What follows `--` goes
to `inceptcli train`. Prints stops, steps and the verdict; exit code 1 when the weights differ, a
traceback was printed, or more steps were done again than the checkpoints allow: none but for
SIGKILL. With `--control` a run that starts over after each kill has to do more than that.
"""

from __future__ import annotations

import math
import os
import random
import re
import signal
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterable
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tests.terminal import Terminal
from tests.tiny_network import TINY_FLAGS
from tests.training.ranks import processes_of

ROOT = Path(__file__).parents[2]
CTRL_C = "Ctrl-C"
ONE_RANK = "SIGTERM to a rank"
SIGNALS = [CTRL_C, ONE_RANK, "SIGTERM", "SIGUSR1", "SIGHUP", "SIGKILL"]
EVERY_STEPS = 3
TINY = [
    *TINY_FLAGS, "--image-size", "75", "--batch-size", "4", "--set", "data.val_size=10",
    "--accelerator", "cpu", "--epochs", "3",
    "--set", "data.train_size=96", "--set", f"checkpoint.every_steps={EVERY_STEPS}",
]  # fmt: skip


class Stop(NamedTuple):
    """One of SIGNALS, and more flags of the start that it ends."""

    signal: str
    flags: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """What a run came to: its steps counted one by one, the signals that it got, its weights."""

    steps: int
    total: int
    stopped_by: list[str]
    identical: bool
    tracebacks: int

    @property
    def allowed(self) -> int:
        """The most steps that the signals may cost; after all but SIGKILL the run is saved."""
        return self.total + self.stopped_by.count("SIGKILL") * EVERY_STEPS


class Training:
    """A training process on a terminal of its own that logs every step."""

    def __init__(self, folder: Path, flags: list[str]) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "tests.training.chaos", "--worker", *TINY, *flags]
        self._terminal = Terminal(
            [*command, "--output", str(folder)], 120, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT)
        )
        self._reader = threading.Thread(target=self._terminal.finish)
        self._reader.start()

    @property
    def running(self) -> bool:
        return self._terminal.process.poll() is None

    def listens(self, name: str) -> bool:
        """Whether Python has begun to answer the signal; before that, the system ends it."""
        if name == "SIGKILL":
            return True
        try:
            status = Path(f"/proc/{self._terminal.process.pid}/status").read_text()
        except OSError:  # it has ended, or the system has no such files
            return True
        (caught,) = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
        known = {CTRL_C: signal.SIGINT, ONE_RANK: signal.SIGTERM}
        number = known.get(name) or signal.Signals[name]
        return bool(int(caught, 16) >> (number - 1) & 1)

    def send(self, name: str) -> None:
        """Ctrl-C, or a signal to the whole group or the last rank."""
        if name == CTRL_C:
            self._terminal.type("\x03")
        elif name == ONE_RANK:
            ranks = processes_of(self.folder)
            os.kill(max(ranks, key=lambda process: ranks[process]), signal.SIGTERM)
        else:
            os.killpg(self._terminal.process.pid, signal.Signals[name])

    def end(self) -> tuple[int, str]:
        """The exit code, and what was written on the terminal."""
        self._reader.join(900)
        if self._reader.is_alive():
            os.killpg(self._terminal.process.pid, signal.SIGKILL)
            raise RuntimeError(f"hung: {self._terminal.written}")
        return self._terminal.process.wait(), self._terminal.written


def steps_done(folder: Path) -> list[int]:
    """Every step that train.log has, in the order in which they were done."""
    log = folder / "train.log"
    return [int(step) for step in re.findall(r"did step (\d+)$", log.read_text(), re.MULTILINE)]


def killed(
    folders: Iterable[Path], stops: Iterable[Stop], dice: random.Random, flags: list[str]
) -> tuple[list[str], int]:
    """Train to the end, stopped up to once for each of `stops`, in this order.

    A stop comes after a random number of steps, every fourth at a random moment of the start, once
    the program has begun. Each start is in the next of `folders`. Returns the signals that came
    before a start had ended by itself, and the number of tracebacks that were shown.
    """
    sent, tracebacks, left = [], 0, iter(stops)
    for folder in folders:
        stop = next(left, None)
        training = Training(folder, flags if stop is None else [*flags, *stop.flags])
        if stop is not None and _sent(stop.signal, training, dice):
            sent.append(stop.signal)
        code, shown = training.end()
        tracebacks += "Traceback" in shown
        if code == 0:
            return sent, tracebacks
        if stop is None or code != (-signal.SIGKILL if stop.signal == "SIGKILL" else 75):
            raise RuntimeError(f"left with {code}: {shown}")
    raise AssertionError("no folder is left")


def _sent(name: str, training: Training, dice: random.Random) -> bool:
    """Send the signal at a random moment; False if the training ended before."""
    patience = _num_steps(training.folder) + dice.randint(1, 4 * EVERY_STEPS)
    started, at = time.monotonic(), dice.uniform(1, 10) if dice.random() < 0.25 else math.inf
    while training.running:
        due = time.monotonic() - started >= at and name != ONE_RANK  # which may not be there yet
        if (due or _num_steps(training.folder) >= patience) and training.listens(name):
            time.sleep(dice.random() / 5)
            if training.running:
                training.send(name)
                return True
        time.sleep(0.02)
    return False


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


def left_alone(folder: Path, flags: list[str]) -> Path:
    """The folder, with a whole run in it."""
    code, shown = Training(folder, flags).end()
    if code != 0:
        raise RuntimeError(f"the run that was left alone failed: {shown}")
    return folder


def compare(
    alone: Path, disturbed: Path, stops: list[Stop], seed: int, flags: list[str]
) -> Outcome:
    """A run that was left alone, and one in the folder `disturbed` that is stopped."""
    import torch

    stopped_by, tracebacks = killed(repeat(disturbed), stops, random.Random(seed), flags)
    expected, found = tensors(alone), tensors(disturbed)
    identical = expected.keys() == found.keys() and all(
        torch.equal(expected[key], found[key]) for key in expected
    )
    return Outcome(
        len(steps_done(disturbed)), len(steps_done(alone)), stopped_by, identical, tracebacks
    )


def steps_when_starting_over(folder: Path, stops: list[Stop], seed: int, flags: list[str]) -> int:
    """Steps of a run that is killed alike and knows of no resume: each start has a new folder."""
    folders = [folder / f"start-{start}" for start in range(len(stops) + 1)]
    killed(folders, stops, random.Random(seed), [*flags, "--resume", "never"])
    return sum(map(_num_steps, folders))


def work(arguments: list[str]) -> None:
    """`inceptcli train`, with a line in train.log for every optimizer step."""
    from inceptcli.cli.app import app
    from inceptcli.progress.display import notices
    from inceptcli.training.stopping import Stopping

    with notices(), Stopping().listening():  # as the program does, from its first line on
        from inceptcli.training.callbacks.recorder import Recorder

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
    parser.add_argument("--signal", choices=SIGNALS, default="SIGKILL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control", action="store_true")
    parser.add_argument("flags", nargs="*")
    chosen = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also under nohup, which the program respects
    with TemporaryDirectory() as name:
        folder = Path(name)
        stops = [Stop(chosen.signal)] * chosen.kills
        arguments = (stops, chosen.seed, chosen.flags)
        alone = left_alone(folder / "alone", chosen.flags)
        outcome = compare(alone, folder / "disturbed", *arguments)
        control = steps_when_starting_over(folder, *arguments) if chosen.control else None
    verdict = "identical" if outcome.identical else "DIFFERENT"
    print(
        f"{len(outcome.stopped_by)} x {chosen.signal} {' '.join(chosen.flags)}: weights {verdict}; "
        f"{outcome.steps} steps for {outcome.total}, {outcome.allowed} allowed; "
        f"{outcome.tracebacks} tracebacks"
    )
    fine = outcome.identical and len(outcome.stopped_by) == chosen.kills and not outcome.tracebacks
    fine = fine and outcome.steps <= outcome.allowed
    if control is not None:
        print(f"starting over each time: {control} steps")
        fine = fine and control > outcome.allowed
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2:])
    else:
        main()
