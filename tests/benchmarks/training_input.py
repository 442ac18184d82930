"""How much input does a core make for training, beside timm's loader with the same operations?

    python -m tests.benchmarks.training_input PHOTOGRAPHS

Crops of 8 to 100 %, 299 pixels, bilinear, mirrored; with colors: brightness, contrast and
saturation by up to 40 %. From files of 500x375 pixels to batches, by one core alone: of uint8,
which both loaders hand to a GPU, and of float32, normalized by the core itself. Counts CPU seconds;
all draw at random, so that batches are compared by their mean. Needs inceptcli[bench]. Writes JSON
to tests/benchmarks/results/.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm.data
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from inceptcli.data.file_paths import FilePaths
from inceptcli.data.folders import LabeledImages, find_images
from inceptcli.data.loading.dataset import TrainingDataset, collate
from inceptcli.data.pixels.augmentation import Augmentation, training_transform
from inceptcli.data.pixels.decode import UnreadableImage, decode
from inceptcli.data.pixels.normalization import normalize
from inceptcli.data.sources import FolderSource
from tests.benchmarks.comparison import in_turns, show, write

IMAGES, BATCH, SIZE, ROUNDS = 800, 32, 299, 5
HALF = (0.5, 0.5, 0.5)
LARGEST_DIFFERENCE = 0.02
"""Of the means of two runs, of values from 0 to 1; random colors move them by 0.01."""


def photographs(folder: Path, output: Path, number: int) -> LabeledImages:
    """As many files of 500x375 pixels in `output`/one, from the large images of `folder`."""
    large = []
    for path in find_images(folder):
        try:
            pixels = decode(path)
        except UnreadableImage:
            continue
        if min(pixels.shape[:2]) >= 375:
            large.append(Image.fromarray(pixels).resize((500, 375)))
    if not large:
        raise SystemExit(f"{folder}: no image of 375 pixels or more")
    (output / "one").mkdir()
    paths = []
    for place, image in enumerate(islice(cycle(large), number)):
        paths.append(output / "one" / f"{place:04}.jpg")
        image.save(paths[-1], quality=92)
    return LabeledImages(("one", "two"), FilePaths.of(paths), (0,) * number)


def ours(images: LabeledImages, colors: float, normalized: bool) -> Iterator[Tensor]:
    """Batches."""
    chosen = Augmentation(
        style="usual", crop_area=(0.08, 1), crop_aspect=(3 / 4, 4 / 3), mirror=0.5,
        brightness=colors, contrast=colors, saturation=colors, hue=0, policy="none",
        policy_operations=2, policy_magnitude=9, erasing=0,
    )  # fmt: skip
    dataset = TrainingDataset(FolderSource(images), training_transform((SIZE, SIZE), chosen), 0)
    keys: Any = [(0, number) for number in range(IMAGES)]
    for batch in DataLoader(dataset, BATCH, sampler=keys, collate_fn=collate):
        yield normalize(batch.images, HALF, HALF) if normalized else batch.images


def theirs(folder: Path, colors: float, normalized: bool) -> Iterator[Tensor]:
    """Batches by timm's loader as it comes, or what it has before it goes to the device."""
    data: Any = timm.data
    loader: Any = data.create_loader(
        data.ImageDataset(str(folder)), (3, SIZE, SIZE), BATCH, is_training=True,
        color_jitter=colors or None, interpolation="bilinear", mean=HALF, std=HALF,
        num_workers=0, device=torch.device("cpu"), persistent_workers=False,
    )  # fmt: skip
    for images, _ in loader if normalized else loader.loader:
        yield images


def mean_of(batches: Iterator[Tensor]) -> float:
    """Of all pixel values, from 0 to 1."""
    values = [
        batch.float().mean() / 255 if batch.dtype == torch.uint8 else batch.mean() / 2 + 0.5
        for batch in batches
    ]
    return float(torch.stack(values).mean())


def main() -> None:
    """Compare, print."""
    torch.set_num_threads(1)
    results: dict[str, Any] = {"images": IMAGES}
    with TemporaryDirectory() as name:
        images = photographs(Path(sys.argv[1]), Path(name), IMAGES)
        for normalized, (title, colors) in product((False, True), (("off", 0.0), ("on", 0.4))):
            batches: dict[str, Callable[[], Iterator[Tensor]]] = {
                "timm": partial(theirs, Path(name), colors, normalized),
                "ours": partial(ours, images, colors, normalized),
            }
            means = {contestant: mean_of(made()) for contestant, made in batches.items()}
            title = f"colors {title}, {'float32' if normalized else 'uint8'}"
            if abs(means["ours"] - means["timm"]) > LARGEST_DIFFERENCE:
                print(f"{title}: means {means}, no figure")
                continue
            runs = {
                contestant: lambda made=made: sum(len(batch) for batch in made())
                for contestant, made in batches.items()
            }
            found = in_turns(runs, ROUNDS)
            show(f"{title}, {IMAGES} images", found)
            results[title] = {"means": means, "contestants": found}
    write("training_input", ("torch", "torchvision", "timm", "pillow", "simplejpeg"), results)


if __name__ == "__main__":
    main()
