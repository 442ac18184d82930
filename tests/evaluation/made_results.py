"""Results of evaluations that nobody ran, of any size, pictures for them, and their report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.evaluation.measures import Evaluation, ImageResult, Origin, evaluation_of
from inceptcli.evaluation.report import write_report
from inceptcli.weights.metadata import ClassName
from tests.pages.browser import WIDE, Page

HOSTILE = "<img src=x onerror=alert(1)>"


@dataclass(frozen=True)
class MadePictures:
    """Plain colors under the names of results; the last of them cannot be read."""

    results: Evaluation
    damaged: str = ""

    def __len__(self) -> int:
        return len(self.results.images)

    def image(self, index: int, shorter_side: int | None = None) -> NDArray[np.uint8]:
        if self.name(index) == self.damaged:
            raise UnreadableImage("it is gone")
        color = np.random.default_rng(index).integers(0, 256, (3, 4, 3)).astype(np.uint8)
        return color.repeat(60, axis=0).repeat(60, axis=1)

    def label(self, index: int) -> int:
        return self.results.images[index].label

    def name(self, index: int) -> str:
        return self.results.images[index].path


def made_probabilities(images: Sequence[ImageResult], num_classes: int) -> NDArray[np.float64]:
    """Rows with the probabilities that the results have; the other classes share the rest."""
    rows = np.arange(len(images))
    predicted = [image.predicted for image in images]
    known = np.zeros((len(images), num_classes), bool)
    found = np.zeros((len(images), num_classes))
    for column, value in (
        ([image.label for image in images], [math.exp(-image.loss) for image in images]),
        (predicted, [image.probability for image in images]),
    ):
        found[rows, column], known[rows, column] = value, True
    rest = np.maximum(0, 1 - found.sum(1)) / np.maximum(1, (~known).sum(1))
    filled: NDArray[np.float64] = np.where(known, found, rest[:, None])
    return filled


def made_results(
    num_classes: int, num_images: int, accuracy: float = 0.8, *, hostile: bool = False
) -> Evaluation:
    """Wrong answers lie near the label, as those of ImageNet's synsets do.

    With `hostile`, the first class and the first image have markup for a name, the second image's
    path ends the script that it might stand in, and an image that could not be read has both.
    """
    random = np.random.default_rng(0)
    labels = np.arange(num_images) * num_classes // num_images
    of_class = random.uniform(accuracy - 0.2, accuracy + 0.2, num_classes)
    right = random.random(num_images) < of_class[labels]
    steps = np.where(
        random.random(num_images) < 0.8,
        random.choice([-3, -2, -1, 1, 2, 3], num_images),
        random.integers(0, num_classes, num_images),
    )
    predicted = np.where(right, labels, (labels + steps) % num_classes)
    right = predicted == labels
    sure = np.where(right, random.beta(6, 1, num_images), random.beta(3, 2, num_images))
    names = [f"class {number}" for number in range(num_classes)]
    paths = [
        f"imagenet/val/n{label:08}/ILSVRC2012_val_{number:08}.JPEG"
        for number, label in enumerate(labels.tolist(), start=1)
    ]
    if hostile:
        names[0] = HOSTILE
        paths[0], paths[1] = f"data/{HOSTILE}.jpg", "data/</script><script>alert(2)</script>.jpg"
    ranks = np.where(right, 1, random.integers(2, max(3, num_classes // 4), num_images))
    losses = -np.log(np.where(right, sure, (1 - sure) / 2 + 1e-9))
    columns = (labels, predicted, sure, losses, ranks)
    rows = zip(paths, *(column.tolist() for column in columns), strict=True)
    images = [ImageResult(*row) for row in rows]
    classes = [ClassName(f"n{number:08}", name) for number, name in enumerate(names)]
    skipped = [(f"data/{HOSTILE}</script>.jpg", f"not an image {HOSTILE}")] if hostile else []
    return evaluation_of(images, made_probabilities(images, num_classes), classes, skipped)


ORIGIN = Origin(["a.safetensors", "b.safetensors"], "flowers", 12, 3, against=["c.safetensors"])


def written(folder: Path, result: Evaluation, damaged: str = "") -> Path:
    file = folder / "report.html"
    with file.open("w", encoding="utf-8") as stream:
        write_report(result, stream, source=MadePictures(result, damaged), origin=ORIGIN)
    return file


def opened(page: Page, folder: Path, result: Evaluation, damaged: str = "") -> None:
    page.resize(*WIDE)
    page.open(written(folder, result, damaged))
