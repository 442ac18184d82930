"""Kill shards of a prediction at random moments and compare with a run that was left alone.

    python -m tests.prediction.chaos --rows 20000 --shards 5 --kills 30

All shards run at once; each SIGKILL hits one of those that are not finished, which starts again at
once with the same command. A part gets a file every fifth of a second. Prints rows, kills and the
largest difference; exit code 1 when a row is missing, doubled or has another class, or a
probability differs by more than 1e-5. `--format parquet` writes Parquet parts.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from inceptcli.prediction.shares.part import rows_files
from tests.prediction.conftest import draw, save_small_network

PICTURES = 50
TOLERANCE = 1e-5
LONGEST = 4 * 3600


class Outcome(NamedTuple):
    """What the killed shards came to, against a run that was left alone."""

    rows: int
    distinct: int
    kills: int
    same_classes: bool
    difference: float

    def is_right(self, rows: int, kills: int) -> bool:
        """Whether so many kills cost none of so many rows."""
        return (
            (self.rows, self.distinct, self.kills) == (rows, rows, kills)
            and self.same_classes
            and self.difference <= TOLERANCE
        )


def pictures(folder: Path, count: int) -> Path:
    """So many files: a few drawn pictures under many names, and one that is none."""
    drawn = [draw(folder / f"drawn/{number}.png", number) for number in range(PICTURES - 1)]
    drawn.append(folder / "drawn/text.png")
    drawn[-1].write_text("no image")
    (folder / "pictures").mkdir()
    for number in range(count):
        os.link(drawn[number * 7 % PICTURES], folder / f"pictures/{number:06}.png")
    return folder / "pictures"


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """`inceptcli` in a process of its own on one core."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.prediction.small_files", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def killed(
    commands: Sequence[Sequence[object]],
    parts: Path,
    moments: Sequence[float],
    dice: random.Random,
    delay: float,
) -> int:
    """Run the commands at once to their ends; how many were killed.

    One is killed when the parts together have so many rows as each of the `moments` says, or up to
    `delay` seconds later, so that starts are hit too.
    """
    deadline = time.monotonic() + LONGEST
    running = {number: start(*command) for number, command in enumerate(commands)}
    waiting = sorted(moments)
    kills = 0
    try:
        while running:
            for number, process in list(running.items()):
                if (code := process.poll()) is not None:
                    if code not in (0, 1):  # 1: some pictures cannot be read
                        raise RuntimeError(f"shard {number} left with {code}")
                    del running[number]
            if running and waiting and rows_in(parts) >= waiting[0]:
                waiting.pop(0)
                time.sleep(dice.random() * dice.choice((0.05, delay)))
                number = dice.choice(sorted(running))
                running[number].kill()
                if running[number].wait() == -signal.SIGKILL:
                    kills += 1
                    running[number] = start(*commands[number])
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done after {LONGEST} s")
            time.sleep(0.02)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return kills


def rows_in(parts: Path) -> int:
    """All rows so far."""
    return sum(file.rows for part in parts.glob("*") for file in rows_files(part))


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    with path.open() as file:
        yield from map(json.loads, file)


def compare(
    folder: Path,
    rows: int,
    shards: int,
    kills: int,
    seed: int,
    output_format: str = "jsonl",
    delay: float = 2.0,
) -> Outcome:
    """A prediction that is left alone and one in shards that are killed, below `folder`."""
    images = pictures(folder, rows)
    weights = save_small_network(folder / "model.safetensors")
    flags = ("--weights", weights, "--device", "cpu", "--quiet")
    alone, parts, merged = folder / "alone.jsonl", folder / "parts", folder / "merged.jsonl"
    if start("predict", images, *flags, "--format", "jsonl", "--output", alone).wait() != 1:
        raise RuntimeError("the run that was left alone did not end as it should")
    commands = [
        ("predict", images, *flags, "--format", output_format,
         "--shard", f"{number}/{shards}", "--output", parts)
        for number in range(shards)
    ]  # fmt: skip
    dice = random.Random(seed)
    moments = [dice.random() * rows * 0.95 for _ in range(kills)]
    done = killed(commands, parts, moments, dice, delay)
    if start("merge", parts, "--output", merged, "--quiet").wait() != 0:
        raise RuntimeError("the parts do not merge")
    return difference(alone, merged, done)


def difference(alone: Path, merged: Path, kills: int) -> Outcome:
    """How two files of answers differ."""
    paths: set[str] = set()
    count, largest, same = 0, 0.0, True
    expected = rows_of(alone)
    none: dict[str, Any] = {"path": None, "predictions": [], "error": None}
    for row in rows_of(merged):
        count += 1
        paths.add(row["path"])
        other = next(expected, none)
        same = same and _classes(row) == _classes(other)
        for ours, theirs in zip(row["predictions"], other["predictions"], strict=False):
            largest = max(largest, abs(ours["probability"] - theirs["probability"]))
    return Outcome(count, len(paths), kills, same and next(expected, None) is None, largest)


def _classes(row: dict[str, Any]) -> tuple[object, ...]:
    return row["path"], row["error"], [entry["index"] for entry in row["predictions"]]


def main() -> None:
    """Read the flags, run, say how it went."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=5)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=["jsonl", "parquet"], default="jsonl")
    chosen = parser.parse_args()
    with TemporaryDirectory() as name:
        outcome = compare(
            Path(name), chosen.rows, chosen.shards, chosen.kills, chosen.seed, chosen.format
        )
    print(
        f"{outcome.kills} x SIGKILL on {chosen.shards} shards ({chosen.format}): {outcome.rows} "
        f"rows, {outcome.distinct} distinct; classes "
        f"{'equal' if outcome.same_classes else 'DIFFERENT'}; largest difference of a probability "
        f"{outcome.difference:.1e}"
    )
    sys.exit(0 if outcome.is_right(chosen.rows, chosen.kills) else 1)


if __name__ == "__main__":
    main()
