"""What does `train` cost beside a bare PyTorch loop? irv1 at 96 pixels, batch 16, drawn shapes.

    python -m tests.benchmarks.training_loop

Both train the same network on the same batches with the same optimizer, without averaging and
clipping, and neither validates while it is timed; the losses must be equal. Counts CPU seconds of
each step, data included, in turns of whole runs. Writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from inceptcli.data.loading.dataset import TrainingDataset, collate
from inceptcli.data.loading.sampler import PositionedSampler, seed_from
from inceptcli.data.pixels.normalization import normalize
from inceptcli.networks.registry import build
from inceptcli.recipe.schema import Recipe, check
from inceptcli.training.module import Classifier
from inceptcli.training.plan import plan
from inceptcli.training.run import _transform, fit
from inceptcli.training.run_directory import RunDirectory
from tests.benchmarks.comparison import spread, write

BATCH, STEPS, ROUNDS = 16, 24, 6


def recipe() -> Recipe:
    """What both train by."""
    return check({
        "network": {"name": "irv1", "dropout": 0.0},
        "data": {"image_size": 96, "batch_size": BATCH, "train_size": BATCH * STEPS,
                 "val_size": 16, "workers": 0},
        "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.0},
        "schedule": {"name": "constant"},
        "averaging": {"decay": 0.0},
        "trainer": {"epochs": 1, "accelerator": "cpu", "clip_norm": None},
    })  # fmt: skip


def ours() -> tuple[list[float], list[float]]:
    """CPU seconds of each step after the first two, and the losses."""
    starts: list[float] = []
    losses: list[float] = []
    step = Classifier.training_step

    def timed(self: Classifier, batch: Any, batch_idx: int) -> Any:
        starts.append(time.process_time())
        found = step(self, batch, batch_idx)
        losses.append(float(found["loss"].detach()))
        return found

    Classifier.training_step = timed  # type: ignore[method-assign]
    try:
        with TemporaryDirectory() as folder:
            fit(plan(recipe()), RunDirectory(Path(folder) / "run"))
    finally:
        Classifier.training_step = step  # type: ignore[method-assign]
    return [later - earlier for earlier, later in pairwise(starts[2:])], losses


def bare() -> tuple[list[float], list[float]]:
    """The same by hand."""
    planned = plan(recipe())
    seed = planned.recipe.trainer.seed
    torch.default_generator.manual_seed(seed_from(seed))
    network = build(planned.network).to(memory_format=torch.channels_last).train()
    settings = planned.recipe.optimizer
    optimizer = torch.optim.SGD(
        network.parameters(), lr=settings.learning_rate, momentum=0.9, fused=True
    )
    images = TrainingDataset(planned.train, _transform(planned), seed)
    sampler = PositionedSampler(len(images), BATCH, seed, lambda: 0, 0, 1)
    loader = torch.utils.data.DataLoader(
        images, BATCH, sampler=sampler, collate_fn=collate, drop_last=True
    )
    starts, losses = [], []
    mean, std = planned.preprocessing.mean, planned.preprocessing.std
    smoothing = planned.recipe.augmentation.label_smoothing
    for batch in loader:
        starts.append(time.process_time())
        logits = network(normalize(batch.images, mean, std))
        loss = nn.functional.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return [later - earlier for earlier, later in pairwise(starts[2:])], losses


def main() -> None:
    """Compare, print."""
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {"bare": [], "train": []}
    contestants = [("bare", bare), ("train", ours)]
    for _ in range(ROUNDS):
        losses = {}
        contestants.reverse()
        for name, run in contestants:
            steps, losses[name] = run()
            seconds[name].append(statistics.median(steps))
        if losses["bare"] != losses["train"]:
            raise SystemExit(f"the losses differ, no figure: {losses}")
    ratio = spread([one / other for one, other in zip(*seconds.values(), strict=True)])
    for name, values in seconds.items():
        print(f"{name}: {statistics.median(values):.4f} CPU seconds a step")
    print(f"train does {ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f}) of the "
          "steps of the bare loop in the same time")  # fmt: skip
    found = {"steps": {name: spread(values) for name, values in seconds.items()}, "ratio": ratio}
    write("training_loop", ("torch", "lightning"), found)


if __name__ == "__main__":
    main()
