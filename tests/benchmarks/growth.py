"""What training costs by network, in figures that larger runs are reckoned from. One core.

    python -m tests.benchmarks.growth irv1 irv2 iv4 --images FOLDER

For each network as in its paper's recipe, 299 pixels: CPU time of an image in training (forward,
backward, optimizer) and in prediction, bytes of the gradients, bytes and seconds of a checkpoint
(weights, average, optimizer's state). For the images of FOLDER, enlarged to 500x375 pixels: CPU
time to read and distort one.
Writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

import statistics
import time
from argparse import ArgumentParser
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from inceptcli.data.file_paths import FilePaths
from inceptcli.data.folders import LabeledImages, find_images
from inceptcli.data.loading.dataset import TrainingDataset
from inceptcli.data.pixels.augmentation import Augmentation, training_transform
from inceptcli.data.sources import FolderSource
from inceptcli.networks.registry import network_options
from inceptcli.networks.summary import summarize
from inceptcli.prediction.engines.torch_engine import TorchEngine
from inceptcli.prediction.ensemble import Ensemble
from inceptcli.recipe.file import find_recipe, override, read_with_bases
from inceptcli.recipe.schema import check
from inceptcli.training.callbacks.checkpoints import ResumeCheckpoint
from inceptcli.training.module import Classifier
from inceptcli.training.plan import plan
from inceptcli.training.run import fit
from inceptcli.training.run_directory import RunDirectory
from tests.benchmarks.comparison import write

BATCH, STEPS, PREDICTED = 8, 5, 8
CHANGES = {
    "data.train_size": BATCH * STEPS, "data.val_size": 1, "data.batch_size": BATCH,
    "data.workers": 0, "trainer.epochs": 1, "trainer.accelerator": "cpu",
}  # fmt: skip


def of_network(name: str) -> dict[str, float]:
    """Train a few steps on drawn shapes, save, predict."""
    starts: list[float] = []
    saves: list[float] = []
    step, save = Classifier.training_step, ResumeCheckpoint._save

    def timed_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        starts.append(time.process_time())
        return step(self, batch, batch_idx)

    def timed_save(self: ResumeCheckpoint, trainer: Any) -> None:
        begun = time.perf_counter()
        save(self, trainer)
        saves.append(time.perf_counter() - begun)

    Classifier.training_step = timed_step  # type: ignore[method-assign]
    ResumeCheckpoint._save = timed_save  # type: ignore[method-assign]
    try:
        with TemporaryDirectory() as folder:
            run = RunDirectory(Path(folder) / "run")
            recipe = override(read_with_bases(find_recipe(f"paper/{name}"))[0], CHANGES)
            fit(plan(check(recipe)), run)
            size = run.checkpoints()[-1].stat().st_size
            predicting = _prediction(run.weights)
    finally:
        Classifier.training_step = step  # type: ignore[method-assign]
        ResumeCheckpoint._save = save  # type: ignore[method-assign]
    each = [(later - earlier) / BATCH for earlier, later in pairwise(starts[1:])]
    parameters = summarize(network_options(name), (299, 299)).parameters
    return {
        "training_cpu_seconds_each": statistics.median(each),
        "prediction_cpu_seconds_each": predicting,
        "gradient_bytes": 4 * parameters,
        "checkpoint_bytes": size,
        "save_seconds": saves[-1],
    }


def _prediction(weights: Path) -> float:
    """CPU seconds of an image by the saved weights, without reading it."""
    ensemble = Ensemble([TorchEngine.load(weights, "cpu", at_once=PREDICTED)], 1, PREDICTED)
    noise = torch.randint(0, 256, (299, 299, 3), dtype=torch.uint8).numpy()
    views = [ensemble.cut(noise)] * PREDICTED
    ensemble.probabilities(views[:1])
    begun = time.process_time()
    ensemble.probabilities(views)
    return (time.process_time() - begun) / PREDICTED


def of_images(paths: tuple[Path, ...], style: str) -> dict[str, float]:
    """Read and distort images as training does, without a network."""
    source = FolderSource(LabeledImages(("any",), FilePaths.of(paths), (0,) * len(paths)))
    recipe = check(read_with_bases(find_recipe("paper/irv2"))[0] if style == "authors" else {})
    chosen = recipe.augmentation.model_dump(exclude={"mixup", "cutmix", "label_smoothing"})
    images = TrainingDataset(source, training_transform((299, 299), Augmentation(**chosen)), 0)
    for index in range(min(10, len(paths))):
        images[0, index]
    begun = time.process_time()
    for index in range(len(paths)):
        images[1, index]
    return {
        "images": len(paths),
        "mean_bytes": statistics.mean(path.stat().st_size for path in paths),
        "cpu_milliseconds_each": 1000 * (time.process_time() - begun) / len(paths),
    }


def enlarged(images: Path, folder: Path, count: int = 100) -> tuple[Path, ...]:
    """JPEG files of 500x375 pixels."""
    paths = []
    for number, image in enumerate(islice(find_images(images), count)):
        paths.append(folder / f"{number}.jpg")
        with Image.open(image) as file:
            file.convert("RGB").resize((500, 375)).save(paths[-1], quality=95)
    return tuple(paths)


def main() -> None:
    """Read the flags, measure, print."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--images", type=Path, required=True)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        paths = enlarged(chosen.images, Path(folder))
        styles = {style: of_images(paths, style) for style in ("usual", "authors")}
    for style, figures in styles.items():
        milliseconds, size = figures["cpu_milliseconds_each"], figures["mean_bytes"]
        print(
            f"{style}: {milliseconds:.1f} CPU ms to read and distort an image of {size:,.0f} bytes"
        )
    networks = {}
    for name in chosen.networks:
        networks[name] = figures = of_network(name)
        print(
            f"{name}: training {figures['training_cpu_seconds_each']:.2f} and prediction "
            f"{figures['prediction_cpu_seconds_each']:.3f} CPU seconds an image; gradients "
            f"{figures['gradient_bytes'] / 1e6:.1f} MB; checkpoint "
            f"{figures['checkpoint_bytes'] / 1e6:.1f} MB, {figures['save_seconds']:.2f} s",
            flush=True,
        )
    write("growth", ("torch",), {"images": styles, "networks": networks})


if __name__ == "__main__":
    main()
