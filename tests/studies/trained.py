"""A program in place of `inceptcli train`, and the files that a run leaves.

`python trained.py --recipe FILE --output FOLDER` behaves as the file FOLDER.todo says.
"""

from __future__ import annotations

import csv
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CLASSES = (
    "arrow", "bar", "crescent", "cross", "disc", "heart", "ring", "square", "star", "triangle"
)  # fmt: skip
"""Those of `inceptcli.data.pixels.shapes`, which takes long to import."""


def leave_files(folder: Path, errors: Sequence[float], dead_units: float = 0.25) -> None:
    """Write what a run on drawn shapes leaves for the study."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = f"{json.dumps(CLASSES)}\n".encode()
    head = {"training": 22, "validation": 10, "sha256": hashlib.sha256(classes).hexdigest()}
    lines = f"{json.dumps(head)}\n".encode() + classes
    (folder / "data.jsonl.gz").write_bytes(gzip.compress(lines))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("epoch", "step", "val_top1", "dead_units"))
        for epoch, error in enumerate(errors, start=1):
            writer.writerow((epoch, epoch, 1 - error, dead_units))


def work(seconds: float) -> None:
    """Use the processor."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def main(recipe: Path, folder: Path) -> int:
    """Do as told, and return the exit code."""
    lock = (folder / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"Error: {folder}: another is training", file=sys.stderr)
        return 2
    with (folder / "starts").open("a") as file:
        file.write("x")
    todo = folder.with_name(f"{folder.name}.todo")
    told = todo.read_text() if todo.is_file() else "train"
    work(0.02)
    if told == "fail":
        print("a warning\nError: the disk is full", file=sys.stderr)
        return 1
    if told == "diverge":
        report = {"cause": "the loss is not finite", "step": 3}
        (folder / "diagnosis.json").write_text(json.dumps(report))
        leave_files(folder, [])
        return 1
    if told.startswith("wait"):
        stopped: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: stopped.append(number))
        (folder / "waits").touch()
        parent = int(os.environ["INCEPTCLI_STUDY"])
        while not (stopped and told == "wait") and os.getppid() == parent:
            time.sleep(0.01)
        return 75
    if told == "warn":
        print("a warning", file=sys.stderr)
        told = "train"
    shutil.copy(recipe, folder / "recipe.yaml")
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints/step-000000002.ckpt").touch()
    (folder / "model.safetensors").touch()
    leave_files(folder, [0.5, json.loads(told) if told != "train" else 0.25])
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[2]), Path(sys.argv[4])))
