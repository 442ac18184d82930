"""What does a data set of ImageNet's size cost before the first step? Beside torchvision and timm.

    python -m tests.benchmarks.listing PHOTOGRAPHS

Makes trees of 10,000 and of 1,281,000 links to the photographs in 1,000 class folders, then
measures each in a process of its own: CPU time and memory of the list of images; private memory
that a forked worker gains while it looks up 60,000 of them; seconds from start to the first answer
of `predict FOLDER`, of a task of `predict --shard` that has finished before, and of `train` with
one step, as medians of three turns. The trees are in the system's cache.
Writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from inceptcli.data.folders import find_images
from tests.benchmarks.comparison import write

SIZES = (10_000, 1_281_000)
CLASSES = 1_000
TURNS = 3
MOST_LINKS = 60_000
"""Links to one file; ext4 allows 65,000."""

OPEN = {
    "inceptcli": """
from pathlib import Path
from inceptcli.data.folders import class_folder
from inceptcli.data.sources import FolderSource
def opened(root):
    return FolderSource(class_folder(Path(root)))
def look_up(source, index):
    return source.name(index), source.label(index)
""",
    "torchvision": """
from torchvision.datasets import ImageFolder
def opened(root):
    return ImageFolder(root)
def look_up(source, index):
    return source.samples[index]
""",
    "timm": """
from timm.data.readers.reader_image_folder import ReaderImageFolder
def opened(root):
    return ReaderImageFolder(root)
def look_up(source, index):
    return source.samples[index]
""",
}
MEASURE = """
import json, os, sys, time
def kib(file, field):
    with open(file) as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field))
before, begun = kib("/proc/self/status", "VmRSS:"), time.process_time()
source = opened(sys.argv[1])
seconds, listed = time.process_time() - begun, kib("/proc/self/status", "VmRSS:") - before
reading, writing = os.pipe()
if os.fork() == 0:
    private = kib("/proc/self/smaps_rollup", "Private_Dirty:")
    for number in range(60_000):
        look_up(source, number % len(source))
    private = kib("/proc/self/smaps_rollup", "Private_Dirty:") - private
    os.write(writing, str(private).encode())
    os._exit(0)
os.wait()
print(json.dumps({
    "images": len(source), "cpu_seconds": seconds, "bytes_each": 1024 * listed / len(source),
    "worker_kib": int(os.read(reading, 100)),
}))
"""
SMALL = ("network.width=0.25", "network.repeats=[1,1,1]", "trainer.limit_batches=1")


def make_tree(photographs: list[Path], folder: Path, size: int) -> None:
    """Fill a folder with links in class folders."""
    store = folder.with_name(f"{folder.name}-files")
    store.mkdir()
    files = []
    for number in range(-(-size // MOST_LINKS)):
        files.append(store / f"{number}.jpg")
        shutil.copy(photographs[number % len(photographs)], files[-1])
    for number in range(size):
        name = f"n{number % CLASSES:08}"
        if number < CLASSES:
            (folder / name).mkdir(parents=True)
        os.link(files[number % len(files)], folder / name / f"{name}_{number // CLASSES}.JPEG")


def listed(program: str, root: Path) -> dict[str, Any]:
    """What the list of images costs."""
    command = [sys.executable, "-c", OPEN[program] + MEASURE, str(root)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(found))


def first_answer(root: Path, weights: Path) -> float:
    """Seconds from start to the first answer."""
    command = [sys.executable, "-m", "inceptcli", "predict", str(root), "--weights", str(weights)]
    begun = time.perf_counter()
    with subprocess.Popen(
        [*command, "--format", "jsonl", "--quiet", "--device", "cpu"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        seconds = time.perf_counter() - begun
        process.kill()
    return seconds


def finished_task(root: Path, weights: Path, parts: Path) -> float:
    """Seconds of a task of `predict --shard` with 10 images that are written."""
    count = sum(1 for _ in root.glob("*/*")) // 10
    command = [
        sys.executable, "-m", "inceptcli", "predict", str(root), "--weights", str(weights),
        "--shard", f"0/{count}", "--output", str(parts), "--quiet", "--device", "cpu",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    begun = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - begun


def one_step(root: Path, validation: Path, run: Path) -> float:
    """Seconds of a training run of one step and one validation batch."""
    settings = [word for key in SMALL for word in ("--set", key)]
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "inceptcli", "train", "--arch", "irv1", "--data", str(root),
         "--val-data", str(validation), "--epochs", "1", "--batch-size", "4", "--image-size", "75",
         "--output", str(run), "--quiet", *settings],
        check=True,
    )  # fmt: skip
    return time.perf_counter() - begun


def main() -> None:
    """Compare, print."""
    photographs = list(find_images(Path(sys.argv[1])))
    found: dict[str, Any] = {"sizes": list(SIZES), "listing": {}}
    turns: list[list[dict[str, float]]] = [[] for _ in SIZES]
    with TemporaryDirectory(dir=Path.cwd()) as name:
        trees = [Path(name) / str(size) for size in SIZES]
        for tree, size in zip(trees, SIZES, strict=True):
            make_tree(photographs, tree, size)
            for program in OPEN:
                found["listing"].setdefault(program, []).append(row := listed(program, tree))
                print(f"{size:,} images, {program}: {row}", flush=True)
        for turn in range(TURNS):
            for number, tree in enumerate(trees):
                run = Path(name) / f"run-{tree.name}-{turn}"
                parts = Path(name) / f"parts-{tree.name}-{turn}"
                step = one_step(tree, trees[0], run)
                weights = run / "model.safetensors"
                answer, task = first_answer(tree, weights), finished_task(tree, weights, parts)
                turns[number].append({"step": step, "first_answer": answer, "task": task})
                print(f"{SIZES[number]:,} images: {turns[number][-1]}", flush=True)
    for measure in ("step", "first_answer", "task"):
        found[measure] = [statistics.median(turn[measure] for turn in each) for each in turns]
    write("listing", ("torchvision", "timm"), found)


if __name__ == "__main__":
    main()
