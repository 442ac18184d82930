"""How much input does a core make for training, beside timm's loader with the same operations?

    python -m tests.benchmarks.training_input PHOTOGRAPHS

Crops of 8 to 100 %, 299 pixels, bilinear, mirrored; with colours: brightness, contrast and
saturation by up to 40 %. From files of 500x375 pixels to normalised float32 batches, one worker.
Counts CPU seconds of this process and the worker; both draw at random, so that batches are compared
by their mean. Needs inceptcli[bench]. Writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm.data
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from inceptcli.data.augmentation import Augmentation, training_transform
from inceptcli.data.dataset import TrainingImages, collate
from inceptcli.data.decode import UnreadableImage, decode
from inceptcli.data.folders import LabelledImages, find_images
from inceptcli.data.normalization import normalize
from inceptcli.data.sources import FolderSource
from tests.benchmarks.comparison import cpu_of_children, in_turns, show, write

IMAGES, BATCH, SIZE, ROUNDS = 800, 32, 299, 5
HALF = (0.5, 0.5, 0.5)


def photographs(folder: Path, output: Path, number: int) -> LabelledImages:
    """As many files of 500x375 pixels in `output`/one, from the large images of `folder`."""
    large = []
    for path in find_images(folder):
        try:
            pixels = decode(path)
        except UnreadableImage:
            continue
        if min(pixels.shape[:2]) >= 375:
            large.append(Image.fromarray(pixels).resize((500, 375)))
    (output / "one").mkdir()
    paths = []
    for place, image in enumerate(islice(cycle(large), number)):
        paths.append(output / "one" / f"{place:04}.jpg")
        image.save(paths[-1], quality=92)
    return LabelledImages(("one", "two"), tuple(paths), (0,) * number)


def ours(images: LabelledImages, colours: float) -> Iterator[Tensor]:
    """Normalised batches."""
    chosen = Augmentation(
        style="usual", crop_area=(0.08, 1), crop_aspect=(3 / 4, 4 / 3), mirror=0.5,
        brightness=colours, contrast=colours, saturation=colours, hue=0, policy="none",
        policy_operations=2, policy_magnitude=9, erasing=0,
    )  # fmt: skip
    dataset = TrainingImages(FolderSource(images), training_transform((SIZE, SIZE), chosen), 0)
    keys: Any = [(0, number) for number in range(IMAGES)]
    loader = DataLoader(dataset, BATCH, sampler=keys, num_workers=1, collate_fn=collate)
    for batch in loader:
        yield normalize(batch.images, HALF, HALF)


def theirs(folder: Path, colours: float) -> Iterator[Tensor]:
    """Normalised batches, by timm's loader as it comes."""
    data: Any = timm.data
    loader: Iterable[Any] = data.create_loader(
        data.ImageDataset(str(folder)), (3, SIZE, SIZE), BATCH, is_training=True,
        color_jitter=colours or None, interpolation="bilinear", mean=HALF, std=HALF,
        num_workers=1, device=torch.device("cpu"), persistent_workers=False,
    )  # fmt: skip
    for images, _ in loader:
        yield images


def clock() -> float:
    """CPU seconds of this process and those it has waited for."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime + cpu_of_children()


def main() -> None:
    """Compare, print."""
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    with TemporaryDirectory() as name:
        images = photographs(Path(sys.argv[1]), Path(name), IMAGES)
        for title, colours in (("colours off", 0.0), ("colours on", 0.4)):
            batches: dict[str, Callable[[], Iterator[Tensor]]] = {
                "timm": lambda colours=colours: theirs(Path(name), colours),  # type: ignore[misc]
                "ours": lambda colours=colours: ours(images, colours),  # type: ignore[misc]
            }
            means = {
                contestant: float(torch.stack([batch.mean() for batch in made()]).mean())
                for contestant, made in batches.items()
            }
            if abs(means["ours"] - means["timm"]) > 0.02:
                print(f"{title}: means {means}, no figure")
                continue
            runs = {
                contestant: lambda made=made: sum(len(batch) for batch in made())
                for contestant, made in batches.items()
            }
            found = in_turns(runs, ROUNDS, clock)
            show(f"{title}, {IMAGES} images", found)
            results[title] = {"images": IMAGES, "means": means, "contestants": found}
    write("training_input", ("torch", "torchvision", "timm", "pillow", "simplejpeg"), results)


if __name__ == "__main__":
    main()
