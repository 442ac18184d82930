"""Load networks and predict with them: `inceptcli.load`."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, BinaryIO, Literal, Unpack, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inceptcli.data.pixels.decode import MAXIMUM_FILE_BYTES, Content, UnreadableImage, decode
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UsageError
from inceptcli.jobs.arguments import check_given
from inceptcli.jobs.python_errors import python_error, python_errors
from inceptcli.prediction.engines.engine import EmbeddingEngine
from inceptcli.prediction.ensemble import EnsembleFiles, EnsembleOptions, EnsembleRequest
from inceptcli.prediction.inputs import Source, find_sources
from inceptcli.prediction.predict import Answer, Keep, Seen, predict
from inceptcli.prediction.sets import SetRule, set_rule
from inceptcli.weights.metadata import ClassName, WeightsMetadata

CHUNK_BYTES = 2**20
"""Bytes read from a stream at a time."""

PathOrName = str | os.PathLike[str]
FileBytes = bytes | bytearray | memoryview
ImageInput = PathOrName | Content | FileBytes | BinaryIO
"""A path, folder, pattern or tar file; a file's bytes or binary stream; a Pillow image; or RGB
pixels (H, W, 3), uint8."""


def load(
    weights: PathOrName | Sequence[PathOrName] = "imagenet", **options: Unpack[EnsembleOptions]
) -> Model:
    """Load weights, or several as an ensemble, ready to predict.

    Args:
        weights: a run directory, weights file, published name (`imagenet`, `iv4-tf:imagenet`) or
            Hugging Face repository (`hf-hub:owner/name`). Published weights are downloaded once.
        **options: crops (1, 10, 12 or 144 per image; their probabilities are averaged), device
            ("auto", "cpu", "cuda", "cuda:N", "mps"), devices (number of GPUs to spread the batches
            over, or "auto"), batch_size (crops per batch), precision (named as in Lightning),
            fast_decode (decode large JPEGs at reduced size), compile (torch.compile, on a GPU);
            image_size (N or (H, W) pixels), crop_fraction, interpolation, resize and antialias
            replace the preprocessing of the weights.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: an option is wrong, or the networks have different classes.
        RuntimeError: the weights cannot be read or downloaded, or the device is unavailable.
    """
    check_options(options)
    with python_errors():
        return Model(EnsembleRequest(weights_names(weights), **options).find())


def check_options(options: Mapping[str, object]) -> None:
    """Raise TypeError for options that `load` does not have."""
    known = EnsembleOptions.__annotations__
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f"no option {unknown[0]!r}; options: {', '.join(known)}")


def weights_names(weights: PathOrName | Sequence[PathOrName]) -> tuple[str, ...]:
    """Return the names of one or several weights; raise ValueError if one is empty."""
    names = [weights] if isinstance(weights, str | os.PathLike) else weights
    given = tuple(os.fspath(name) for name in names)
    check_given(weights=given)
    return given


class Model:
    """Loaded networks, as returned by `load`.

    Attributes:
        classes: id and name of each class, in the order of the first network's outputs.
        metadata: metadata of each weights file: network, recipe, epoch, metrics.
        preprocessing: the first network's image size, resizing, mean and standard deviation, with
            the options given.
    """

    def __init__(self, networks: EnsembleFiles) -> None:
        self._networks = networks
        self._ensemble = networks.load()
        self._process = os.getpid()
        self.metadata: tuple[WeightsMetadata, ...] = tuple(networks.metadata)
        self.classes: tuple[ClassName, ...] = self.metadata[0].classes
        self.preprocessing: Preprocessing = self.metadata[0].preprocessing

    def predict(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        top_k: int = 5,
        coverage: float | None = None,
        errors: Literal["raise", "return"] = "raise",
    ) -> Iterator[Answer]:
        """Yield an answer for each image, in input order, as soon as it is ready.

        Args:
            images: one image or several. Folders are searched recursively, patterns such as
                `photos/*.jpg` are expanded, and a .tar file stands for its images. An iterator is
                read ahead in another thread.
            top_k: number of classes per image, most probable first.
            coverage: share of images, such as 0.95, whose set contains the truth; for weights that
                `calibrate` has calibrated with the same crops, precision and fast_decode.
            errors: "raise" raises an error for an image that cannot be read; "return" yields an
                answer whose `error` is the reason.

        Returns:
            Answers with `path` (`images[N]` if input N is not a path), `top` (each with `name`,
            `index` and `probability`), `error` (None, or the reason) and `set` (names of classes,
            or None without coverage).

        Raises:
            FileNotFoundError: a file does not exist; other kinds of OSError likewise.
            ValueError: a file is not an image, an array is not RGB pixels, or an argument is wrong.
            RuntimeError: the model was loaded before this process was forked.
        """
        self._check_process()
        if (top_k := operator.index(top_k)) < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        if errors not in ("raise", "return"):
            raise ValueError(f'errors must be "raise" or "return", got {errors!r}')
        if self._networks.headless is not None:
            raise ValueError(f"{self._networks.headless}: has no trained classifier; use embed")
        with python_errors():
            engines = self._ensemble.engines
            found = [engine.calibration for engine in engines]
            rule = set_rule(coverage, self._networks.request, found, engines[0].output_kind)
        keep = [raise_unreadable] if errors == "raise" else []
        return self._answers(images, top_k, keep, rule=rule)

    def embed(self, images: ImageInput | Iterable[ImageInput]) -> NDArray[np.float32]:
        """Return the penultimate features of images: (N, num_features), float32, in input order.

        Features of irv1-facenet have unit length. Requires one network and one crop. Arguments and
        errors are those of `predict`.
        """
        self._check_process()
        if len(self._networks.files) > 1 or self._ensemble.crops > 1:
            raise ValueError("embed needs one network and one crop")
        rows: list[NDArray[np.float32]] = []

        def keep(source: Source, found: Seen | UnreadableImage, answer: Answer) -> None:
            raise_unreadable(source, found, answer)
            assert isinstance(found, Seen)
            assert found.embedding is not None
            rows.append(found.embedding)

        for _ in self._answers(images, 0, [keep], embed=True):
            pass
        (engine,) = cast("Sequence[EmbeddingEngine]", self._ensemble.engines)
        return np.array(rows, np.float32).reshape(len(rows), engine.embedding_width)

    def _check_process(self) -> None:
        """Raise RuntimeError in a forked process, which would wait for threads of its parent."""
        if os.getpid() != self._process:
            raise RuntimeError(
                f"this model was loaded in process {self._process} and cannot be used in a fork of "
                "it; call inceptcli.load in each process, or start processes with spawn"
            )

    def _answers(
        self,
        images: Any,
        top_k: int,
        keep: Sequence[Keep],
        embed: bool = False,
        rule: SetRule | None = None,
    ) -> Iterator[Answer]:
        with python_errors():
            yield from predict(
                sources_of(images),
                self._ensemble,
                top_k=top_k,
                embed=embed,
                fast_decode=self._networks.request.fast_decode,
                keep=keep,
                rule=rule,
            )


def sources_of(images: Any) -> Iterator[Source]:
    """Yield the images of the argument of `Model.predict`, lazily."""
    if isinstance(images, np.ndarray) and images.dtype.kind in "OSU":
        images = images.flat  # an array of paths or of other objects: no pixels
    for number, image in enumerate([images] if _is_single(images) else images):
        if isinstance(image, str | os.PathLike):
            yield from _named_sources(str(os.fspath(image)))
            continue
        name = f"images[{number}]"
        try:
            source = Source(name, content=_content(image, number))
        except (UnreadableImage, OSError, ValueError) as error:  # also of a stream
            source = Source(name, str(error))
        yield source


def _named_sources(path: str) -> Iterator[Source]:
    if path in ("", "-"):  # neither the current folder nor standard input
        yield Source(path, None if path else "empty path")
        return
    try:
        yield from find_sources([path], BytesIO(), null=False)
    except UsageError as error:  # an address
        yield Source(path, str(error))


def _is_single(images: object) -> bool:
    if isinstance(images, np.ndarray):
        return images.ndim < 4
    if isinstance(images, str | os.PathLike | FileBytes | Image.Image):
        return True
    return hasattr(images, "read")


def _content(image: object, number: int) -> Content:
    """Return the content of an image as it is now: iterators may reuse an array or an image."""
    if isinstance(image, FileBytes):
        return bytes(image)
    if isinstance(image, Image.Image | np.ndarray):
        pixels = decode(image)
        return pixels.copy() if pixels is image else pixels
    if hasattr(image, "read"):
        content = bytearray()
        while isinstance(chunk := image.read(CHUNK_BYTES), bytes) and chunk:
            content += chunk
            if len(content) > MAXIMUM_FILE_BYTES:
                break
        if isinstance(chunk, bytes):
            return bytes(content)
    raise TypeError(
        f"images[{number}] must be a path, bytes, a binary stream, a Pillow image or an array, got "
        f"{type(image).__name__}"
    )


def raise_unreadable(source: Source, found: Seen | UnreadableImage, _: Answer) -> None:
    """Raise a standard Python error for an image that could not be read."""
    if isinstance(found, UnreadableImage):
        raise python_error(found, source.path) from found
