"""From image files to named probabilities, the same code for all commands; imports no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.pixels.decode import UnreadableImage, decode, decode_remote
from inceptcli.prediction.ensemble import DAMAGED, Ensemble, Views, averaged
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.read_ahead import read_batches
from inceptcli.prediction.readers import readers
from inceptcli.prediction.sets import SetRule
from inceptcli.weights.metadata import ClassName

Item = TypeVar("Item")
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class of one image: name, index among the network's classes, probability (0 to 1)."""

    name: str
    index: int
    probability: float


class Seen(NamedTuple):
    """Crops of an image as the networks saw them, and their outputs.

    `size` is height and width of the decoded image. Probabilities (num_classes,) are NaN if a
    network's output is not finite. `of_networks` (networks, num_classes) are those of each network,
    None with an embedding.
    """

    size: Size
    views: Views
    probabilities: NDArray[np.float64]
    embedding: NDArray[np.float32] | None = None
    of_networks: NDArray[np.float64] | None = None


class Answer(NamedTuple):
    """The most probable classes of an image, in descending order, or why there are none.

    `set` has the names of the classes in the prediction set, the most probable first; None if no
    coverage was asked for. `labels` has the classes that reach their thresholds, which `top` has
    too; None unless the weights are multi-label.
    """

    path: str
    top: tuple[Prediction, ...] = ()
    error: str | None = None
    set: tuple[str, ...] | None = None
    labels: tuple[Prediction, ...] | None = None


Keep = Callable[[Source, "Seen | UnreadableImage", Answer], None]
"""Called with each image and its answer, in order, before the answer is yielded."""


def predict(
    sources: Iterable[Source],
    ensemble: Ensemble,
    *,
    top_k: int,
    embed: bool = False,
    fast_decode: bool = False,
    keep: Sequence[Keep] = (),
    rule: SetRule | None = None,
) -> Generator[Answer, None, None]:
    """Yield one answer per source, in order, as soon as it is known.

    Args:
        sources: Images.
        ensemble: Networks and the number of crops.
        top_k: Number of classes per answer, at least 1; capped at the number of classes. Answers of
            multi-label weights have more if more reach their thresholds.
        embed: See `examine`.
        fast_decode: Decode JPEGs at reduced size, no smaller than the networks need; see `decode`.
        keep: Functions called with each image with its pixels, probabilities and embedding.
        rule: Rule of the prediction sets, if answers have them.
    """
    read = partial(pixels, shorter_side=ensemble.needed_side if fast_decode else None)
    for source, found in examine(sources, read, ensemble, embed=embed):
        if isinstance(found, Seen) and not np.isfinite(found.probabilities).all():
            found = UnreadableImage(DAMAGED)
        thresholds = ensemble.thresholds
        answer = answer_for(source.path, found, ensemble.classes, top_k, rule, thresholds)
        for each in keep:
            each(source, found, answer)
        yield answer


def examine(
    items: Iterable[Item],
    pixels: Callable[[Item], NDArray[np.uint8]],
    ensemble: Ensemble,
    *,
    threads: int | None = None,
    embed: bool = False,
) -> Iterator[tuple[Item, Seen | UnreadableImage]]:
    """Yield each item with its crops and probabilities, or its error, in order.

    Images are decoded and cropped while the networks compute. Each asynchronous device gets its
    next batch before the answers to the previous one are awaited. Memory does not grow with the
    number of images.

    Args:
        items: One per image.
        pixels: Returns the decoded image of an item, (H, W, 3), or raises UnreadableImage; called
            in threads.
        ensemble: Networks.
        threads: Number of decoding threads; by default see `readers`.
        embed: Whether to compute embeddings, for one network and one crop per image.
    """

    def read(item: Item) -> tuple[Item, tuple[Size, Views] | UnreadableImage]:
        try:
            image = pixels(item)
            return item, (image.shape[:2], ensemble.cut(image))
        except UnreadableImage as error:
            return item, error

    images_at_once = max(1, ensemble.batch_size // ensemble.crops)
    with readers(read, threads, ensemble.is_asynchronous) as (reading, num_threads):
        begun: deque[Iterator[tuple[Item, Seen | UnreadableImage]]] = deque()
        try:
            for batch in read_batches(items, reading, images_at_once, num_threads):
                if batch:
                    begun.append(_begin(batch, ensemble, embed))
                while len(begun) > (ensemble.num_devices if batch else 0):
                    yield from begun.popleft()
        except Exception:  # of an item: those before it have their answers
            while begun:
                yield from begun.popleft()
            raise
        while begun:
            yield from begun.popleft()


def _begin(
    batch: Sequence[tuple[Item, tuple[Size, Views] | UnreadableImage]],
    ensemble: Ensemble,
    embed: bool,
) -> Iterator[tuple[Item, Seen | UnreadableImage]]:
    """Start a batch on a device; return an iterator that waits for the answers."""
    views = [cut[1] for _, cut in batch if not isinstance(cut, UnreadableImage)]
    if not views:
        return _together(batch, lambda: ((),))
    if embed:
        return _together(batch, partial(ensemble.probabilities_and_embeddings, views))
    wait = ensemble.start(views)

    def answers() -> tuple[Iterable[Any], ...]:
        of_networks = wait()
        return averaged(of_networks), repeat(None), of_networks

    return _together(batch, answers)


def _together(
    batch: Sequence[tuple[Item, tuple[Size, Views] | UnreadableImage]],
    answers: Callable[[], tuple[Iterable[Any], ...]],
) -> Iterator[tuple[Item, Seen | UnreadableImage]]:
    """Wait for the answers; yield each item with its probabilities, and what comes with them."""
    found = zip(*answers(), strict=False)
    for item, cut in batch:
        yield item, cut if isinstance(cut, UnreadableImage) else Seen(*cut, *next(found))


def pixels(source: Source, shorter_side: int | None = None) -> NDArray[np.uint8]:
    """Decode an image to (H, W, 3), uint8; see `decode`.

    Raises UnreadableImage.
    """
    if source.problem is not None:
        raise UnreadableImage(source.problem)
    if source.content is not None:
        return decode(source.content, shorter_side)
    if source.in_tar is not None:
        return decode(source.in_tar.content(), shorter_side)
    if source.address is not None:
        return decode_remote(source.address, shorter_side)
    return decode(Path(source.path), shorter_side)


def peek(answers: Iterable[Answer]) -> tuple[bool, Iterator[Answer]]:
    """Return whether the answers are of multi-label weights, and all of them."""
    rest = iter(answers)
    first = list(islice(rest, 1))
    return bool(first) and first[0].labels is not None, chain(first, rest)


def answer_for(
    path: str,
    found: Seen | UnreadableImage,
    classes: Sequence[ClassName],
    top_k: int,
    rule: SetRule | None = None,
    thresholds: NDArray[np.float64] | None = None,
) -> Answer:
    """Name the `top_k` most probable classes of an image; ties keep the order of the classes.

    With `thresholds` (num_classes,), also name the others that reach theirs, unless `top_k` is 0.
    """
    if isinstance(found, UnreadableImage):
        none = None if thresholds is None else ()
        return Answer(path, error=str(found), set=() if rule else None, labels=none)
    order = np.argsort(-found.probabilities, kind="stable")
    is_label = np.zeros(len(order), bool)
    if thresholds is not None and top_k:
        is_label = found.probabilities >= thresholds
    named = order[(np.arange(len(order)) < top_k) | is_label[order]].tolist()
    top = tuple(Prediction(classes[n].name, n, float(found.probabilities[n])) for n in named)
    labels = tuple(one for one in top if is_label[one.index])
    members = rule and tuple(classes[n].name for n in rule.members(found.probabilities).tolist())
    return Answer(path, top, None, members, None if thresholds is None else labels)
