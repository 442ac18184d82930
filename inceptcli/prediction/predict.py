"""The one path from a picture's file to named probabilities; imports no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.pixels.decode import UnreadableImage, decode, decode_remote
from inceptcli.prediction.ensemble import DAMAGED, Ensemble, Views
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.read_ahead import read_batches
from inceptcli.prediction.readers import readers
from inceptcli.weights.metadata import ClassName

Item = TypeVar("Item")
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class of one picture: its name, its place in the network's classes, 0 to 1."""

    name: str
    index: int
    probability: float


class Seen(NamedTuple):
    """A picture as the networks were given it, and what they made of it.

    `size` is height and width of the decoded picture; probabilities (num_classes,) are NaN where a
    network's output is not finite.
    """

    size: Size
    views: Views
    probabilities: NDArray[np.float64]
    embedding: NDArray[np.float32] | None = None


class Answer(NamedTuple):
    """The most probable classes of one image, most probable first, or the reason for none."""

    path: str
    top: tuple[Prediction, ...] = ()
    error: str | None = None


Keep = Callable[[Source, "Seen | UnreadableImage", Answer], None]
"""Is given each image and its answer, in order, before the answer is passed on."""


def predict(
    sources: Iterable[Source],
    ensemble: Ensemble,
    *,
    top_k: int,
    batch_size: int,
    threads: int | None = None,
    embed: bool = False,
    fast_decode: bool = False,
    keep: Sequence[Keep] = (),
) -> Generator[Answer, None, None]:
    """Yield one answer per source, in order, as soon as it is known.

    Args:
        sources: images.
        ensemble: networks, and the crops that they are given of an image.
        top_k: number of classes to name, at least 1; more than there are means all.
        batch_size: see `examine`.
        threads: see `examine`.
        embed: see `examine`.
        fast_decode: decode JPEGs no larger than the networks need; see `decode`.
        keep: functions that are given each image with its pixels, probabilities and embedding.
    """
    read = partial(pixels, shorter_side=ensemble.needed_side if fast_decode else None)
    images = examine(sources, read, ensemble, batch_size=batch_size, threads=threads, embed=embed)
    for source, found in images:
        if isinstance(found, Seen) and not np.isfinite(found.probabilities).all():
            found = UnreadableImage(DAMAGED)
        answer = answer_for(source.path, found, ensemble.classes, top_k)
        for each in keep:
            each(source, found, answer)
        yield answer


def classify(
    items: Iterable[Item],
    pixels: Callable[[Item], NDArray[np.uint8]],
    ensemble: Ensemble,
    *,
    batch_size: int,
    threads: int | None = None,
) -> Iterator[tuple[Item, NDArray[np.float64] | UnreadableImage]]:
    """Each item with its probabilities (num_classes,), or why it has none; see `examine`."""
    found = examine(items, pixels, ensemble, batch_size=batch_size, threads=threads)
    for item, seen in found:
        yield item, seen if isinstance(seen, UnreadableImage) else seen.probabilities


def examine(
    items: Iterable[Item],
    pixels: Callable[[Item], NDArray[np.uint8]],
    ensemble: Ensemble,
    *,
    batch_size: int,
    threads: int | None = None,
    embed: bool = False,
) -> Iterator[tuple[Item, Seen | UnreadableImage]]:
    """Each item as the networks saw it, with its probabilities, or why it has none; in order.

    Pictures are decoded and cut while the networks compute, and where devices compute, each is
    given its next batch before the last one's answers are waited for. Memory does not grow with the
    number of pictures.

    Args:
        items: one for each picture.
        pixels: the decoded picture of an item, (H, W, 3), or UnreadableImage; called in threads.
        ensemble: the networks.
        batch_size: the most crops that a network is given at once.
        threads: how many decode pictures; by default as `readers` has it.
        embed: whether embeddings are wanted, of one network that sees one crop of each picture.
    """

    def read(item: Item) -> tuple[Item, tuple[Size, Views] | UnreadableImage]:
        try:
            image = pixels(item)
            return item, (image.shape[:2], ensemble.cut(image))
        except UnreadableImage as error:
            return item, error

    pictures = max(1, batch_size // ensemble.crops)
    with readers(read, threads, ensemble.is_asynchronous) as (reading, at_once):
        begun: deque[Iterator[tuple[Item, Seen | UnreadableImage]]] = deque()
        for batch in read_batches(items, reading, pictures, at_once):
            if batch:
                begun.append(_begin(batch, ensemble, batch_size, embed))
            while len(begun) > (ensemble.num_devices if batch else 0):
                yield from begun.popleft()
        for answers in begun:
            yield from answers


def _begin(
    batch: Sequence[tuple[Item, tuple[Size, Views] | UnreadableImage]],
    ensemble: Ensemble,
    batch_size: int,
    embed: bool,
) -> Iterator[tuple[Item, Seen | UnreadableImage]]:
    """What waits for the answers to a batch, which a device begins to compute."""
    views = [cut[1] for _, cut in batch if not isinstance(cut, UnreadableImage)]
    if not views:
        return _together(batch, lambda: ((), ()))
    if embed:
        return _together(batch, partial(ensemble.probabilities_and_embeddings, views, batch_size))
    probabilities = ensemble.start(views, batch_size)
    return _together(batch, lambda: (probabilities(), repeat(None)))


def _together(
    batch: Sequence[tuple[Item, tuple[Size, Views] | UnreadableImage]],
    answers: Callable[[], tuple[Iterable[Any], Iterable[Any]]],
) -> Iterator[tuple[Item, Seen | UnreadableImage]]:
    """Each item with its probabilities and embedding, which are waited for now."""
    found = zip(*answers(), strict=False)
    for item, cut in batch:
        yield item, cut if isinstance(cut, UnreadableImage) else Seen(*cut, *next(found))


def pixels(source: Source, shorter_side: int | None = None) -> NDArray[np.uint8]:
    """Decode an image to (H, W, 3), uint8, as `decode` does.

    Raises UnreadableImage.
    """
    if source.problem is not None:
        raise UnreadableImage(source.problem)
    if source.content is not None:
        return decode(source.content, shorter_side)
    if source.in_tar is not None:
        from inceptcli.data.shards.source import read_image

        _, shard, offset, size, _ = source.in_tar
        return decode(read_image(shard, offset, size), shorter_side)
    if source.address is not None:
        return decode_remote(source.address, shorter_side)
    return decode(Path(source.path), shorter_side)


def answer_for(
    path: str, found: Seen | UnreadableImage, classes: Sequence[ClassName], top_k: int
) -> Answer:
    """Name the `top_k` most probable classes of an image; the first of equals comes first."""
    if isinstance(found, UnreadableImage):
        return Answer(path, error=str(found))
    best = np.argsort(-found.probabilities, kind="stable")[:top_k].tolist()
    top = (Prediction(classes[n].name, n, float(found.probabilities[n])) for n in best)
    return Answer(path, tuple(top))
