"""One network or an ensemble, on one or more crops of each image; no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import cycle
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, cast, get_args

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.pixels.crops import Crops, check_crops, cut, needed_side
from inceptcli.data.pixels.preprocessing import Interpolation, Preprocessing, ResizeRule
from inceptcli.errors import UsageError
from inceptcli.networks.registry import MINIMUM_IMAGE_SIZE
from inceptcli.prediction.engines.devices import BATCH_SIZE, default_batch_size, devices_of
from inceptcli.prediction.engines.engine import (
    AsynchronousEngine,
    EmbeddingEngine,
    Engine,
    load_engine,
)
from inceptcli.prediction.recorded_options import Precision, RecordedOptions
from inceptcli.progress.display import doing
from inceptcli.text import composed, printable
from inceptcli.weights.fetched.published import find_weights
from inceptcli.weights.file import read_metadata
from inceptcli.weights.header import LONGEST_SIDE, SMALLEST_CROP_FRACTION
from inceptcli.weights.metadata import ClassName, OutputKind, WeightsMetadata
from inceptcli.weights.onnx_file import is_onnx

Views = tuple[NDArray[np.uint8], ...]
"""One image's crops (crops, H, W, 3) for each network."""

DAMAGED = "the network's output is not finite; its weights are damaged"


class Ensemble:
    """Networks whose probabilities are averaged, over the crops and then over the networks.

    GoogLeNet (section 7) averages softmax probabilities in the same way. Classes and their order
    are those of the first network; with a `subset`, the networks are as if they had no others. The
    temperature of each calibrated network is applied to its average over the crops. If all networks
    are multi-label, their `thresholds` (num_classes,) are averaged too; otherwise they are None.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        crops: Crops = 1,
        batch_size: int = BATCH_SIZE,
        others: Sequence[Sequence[Engine]] = (),
        subset: Sequence[int] | None = None,
    ) -> None:
        """Combine engines for the same classes, in any order; `batch_size` limits crops per batch.

        `others` are the same networks on other devices; batches alternate between devices. `subset`
        has the positions of the classes that compete, by default all. Networks with other outputs
        can only be compared with: see `check_ensemble`.

        Raises UsageError if the classes differ, or a network does not support `crops`.
        """
        self.engines, self.crops, self.batch_size = engines, crops, batch_size
        for engine in engines:
            check_crops(engine.preprocessing, crops)
        self.calibrations = [engine.calibration for engine in engines]
        numbered = [(f"network {n}", engine.classes) for n, engine in enumerate(engines, start=1)]
        orders = match_classes(numbered)
        places = range(len(engines[0].classes)) if subset is None else subset
        self.classes = tuple(engines[0].classes[place] for place in places)
        self.orders = [[order[place] for place in places] for order in orders]
        self.thresholds: NDArray[np.float64] | None = None
        if all(engine.thresholds is not None for engine in engines):
            members = zip(engines, self.orders, strict=True)
            own = [np.array(engine.thresholds)[order] for engine, order in members]
            self.thresholds = np.mean(own, axis=0)
        self._on_devices = cycle([engines, *others])
        self.num_devices = 1 + len(others)

    @property
    def needed_side(self) -> int:
        """Smallest shorter side, in pixels, that `cut` does not enlarge for any network."""
        return max(needed_side(engine.preprocessing, self.crops) for engine in self.engines)

    def cut(self, image: NDArray[np.uint8]) -> Views:
        """Cut a decoded image (H, W, 3) into crops, with the preprocessing of each network."""
        cuts: dict[tuple[object, ...], NDArray[np.uint8]] = {}
        views = []
        for engine in self.engines:
            p = engine.preprocessing
            geometry = (p.image_size, p.resize, p.crop_fraction, p.interpolation, p.antialias)
            if geometry not in cuts:
                cuts[geometry] = cut(image, p, self.crops)
            views.append(cuts[geometry])
        return tuple(views)

    @property
    def is_asynchronous(self) -> bool:
        """Whether a device computes while this process continues."""
        return any(isinstance(engine, AsynchronousEngine) for engine in self.engines)

    def probabilities(self, images: Sequence[Views]) -> NDArray[np.float64]:
        """Compute probabilities (N, num_classes) for N images, at least 1, that `cut` returned.

        Images for which a network's output is not finite have NaN.
        """
        return averaged(self.start(images)())

    def start(self, images: Sequence[Views]) -> Callable[[], NDArray[np.float64]]:
        """Return a function that waits for each network's probabilities: see `averaged`.

        Computation starts at once if the device is asynchronous and all crops fit one batch.
        """
        waiting: list[Callable[[], NDArray[np.float32]]] = []
        for number, engine in enumerate(next(self._on_devices)):
            views = [image[number] for image in images]
            fit = len(views) * self.crops <= self.batch_size
            if fit and isinstance(engine, AsynchronousEngine):
                waiting.append(engine.start(views))
            else:
                waiting.append(partial(self._in_batches, engine.logits, views))
        return lambda: self._of_networks([wait() for wait in waiting])

    def probabilities_and_embeddings(
        self, images: Sequence[Views]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Also return embeddings (N, num_features); for one network and one crop per image."""
        (engine,) = cast("Sequence[EmbeddingEngine]", self.engines)
        embeddings: list[NDArray[np.float32]] = []

        def logits(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
            outputs = engine.outputs(crops)
            embeddings.append(outputs.embeddings)
            return outputs.logits

        assert self.crops == 1
        found = self._in_batches(logits, [view for (view,) in images])
        return averaged(self._of_networks([found])), np.concatenate(embeddings)

    def _in_batches(
        self,
        logits_of: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
        views: Sequence[NDArray[np.uint8]],
    ) -> NDArray[np.float32]:
        crops = views[0] if len(views) == 1 else np.concatenate(views)
        starts = range(0, len(crops), self.batch_size)
        return np.concatenate([logits_of(crops[at : at + self.batch_size]) for at in starts])

    def _of_networks(self, found: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Convert logits of all crops to mean probabilities (N, networks, num_classes)."""
        num_images = len(found[0]) // self.crops
        means = np.empty((num_images, len(found), len(self.classes)))
        members = zip(found, self.engines, self.orders, self.calibrations, strict=True)
        for number, (logits, engine, order, calibration) in enumerate(members):
            function = softmax if engine.output_kind == "softmax" else sigmoid
            temperature = 1.0 if calibration is None else calibration.temperature
            # Row by row: on a whole table, NumPy's vectorization makes the last bit depend on N.
            # One logit that is not finite makes all of them NaN, even outside the subset.
            sound = (np.where(np.isfinite(row).all(), row, np.nan) for row in logits)
            each = np.stack([function(row[order]) for row in sound])
            for image in range(num_images):
                of_image = each[image * self.crops : (image + 1) * self.crops]
                means[image, number] = tempered(of_image.mean(axis=0), temperature)
        return means


def averaged(
    probabilities: NDArray[np.float64], networks: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Average probabilities (..., networks, num_classes) over networks, by default over all.

    The same networks in the same order give the same bits, whichever others there are.
    """
    numbers = range(probabilities.shape[-2]) if networks is None else networks
    total = reduce(np.add, [probabilities[..., number, :] for number in numbers])
    mean: NDArray[np.float64] = total / len(numbers)
    return mean


class EnsembleOptions(TypedDict, total=False):
    """The options of an EnsembleRequest."""

    crops: Crops
    device: str
    devices: int | Literal["auto"]
    batch_size: int | None
    precision: Precision
    fast_decode: bool
    compile: bool
    image_size: int | tuple[int, int] | None
    crop_fraction: float | None
    interpolation: Interpolation | None
    resize: ResizeRule | None
    antialias: bool | None


@dataclass(frozen=True)
class EnsembleRequest:
    """Networks and how they compute: the options that `predict` and `eval` share.

    Attributes:
        weights: Published names, hub repositories, weights files or run directories; several form
            an ensemble.
        crops: Crops of each image.
        device: auto, cpu, cuda, cuda:N or mps.
        devices: Number of GPUs of this machine that alternate; auto uses all.
        batch_size: Crops per batch; None for the device's default.
        precision: Lightning's name of the precision.
        fast_decode: Decode JPEGs at reduced size, no smaller than the networks need.
        compile: Compile the networks with torch.compile, on a GPU.
        image_size: Side of the networks' input in pixels, or its height and width; this and the
            following replace the preprocessing of all weights, None keeps each one's own.
        crop_fraction: See Preprocessing, as for the following; for 1 or 10 crops.
        interpolation: bilinear or bicubic.
        resize: short-side or squash; for 1 or 10 crops.
        antialias: False samples pixels as TensorFlow 1 does.
        threshold: Threshold of all classes, 0 to 1, for networks with sigmoid outputs.
        classes: File of the classes that compete, one per line; None for all. Only for `eval`.
    """

    weights: tuple[str, ...] = ("imagenet",)
    crops: Crops = 1
    device: str = "auto"
    devices: int | Literal["auto"] = 1
    batch_size: int | None = None
    precision: Precision = "32-true"
    fast_decode: bool = False
    compile: bool = False
    image_size: int | tuple[int, int] | None = None
    crop_fraction: float | None = None
    interpolation: Interpolation | None = None
    resize: ResizeRule | None = None
    antialias: bool | None = None
    threshold: float | None = None
    classes: Path | None = None

    def __post_init__(self) -> None:
        if not self.weights:
            raise UsageError("no weights; give at least one")
        if type(self.crops) is not int or self.crops not in get_args(Crops):
            raise UsageError(f"--crops must be 1, 10, 12 or 144, got {self.crops}")
        if self.precision not in get_args(Precision):
            known = ", ".join(get_args(Precision))
            raise UsageError(f"--precision must be {known}, got {self.precision}")
        for option, number in (("--batch-size", self.batch_size), ("--devices", self.devices)):
            whole = number is None if option == "--batch-size" else number == "auto"
            if not whole and (type(number) is not int or number < 1):
                raise UsageError(f"{option} must be a whole number of at least 1, got {number!r}")
        for option, flag in (("--fast-decode", self.fast_decode), ("--compile", self.compile)):
            if type(flag) is not bool:
                raise UsageError(f"{option} must be True or False, got {flag!r}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", str(self.device)):
            shown = printable(self.device)
            raise UsageError(f"--device must be auto, cpu, cuda, cuda:N or mps, got {shown}")
        if not (self.threshold is None or 0 <= self.threshold <= 1):  # also true for NaN
            raise UsageError(f"--threshold must be 0 to 1, got {self.threshold}")
        _check_preprocessing(self.recorded.preprocessing)
        for option, value in (("--crop-fraction", self.crop_fraction), ("--resize", self.resize)):
            if value is not None and self.crops in (12, 144):
                raise UsageError(
                    f"{option} {value}: --crops {self.crops} defines its own resizing; omit "
                    f"{option}, or use --crops 1 or 10"
                )

    @property
    def recorded(self) -> RecordedOptions:
        """The options that change probabilities."""
        size = tuple(self.image_size) if isinstance(self.image_size, list) else self.image_size
        return RecordedOptions(
            self.fast_decode,
            self.precision,
            (size, size) if isinstance(size, int) else size,
            self.crop_fraction,
            self.interpolation,
            self.resize,
            self.antialias,
            self.threshold,
            None if self.classes is None else printable(self.classes),
        )

    def find(self) -> EnsembleFiles:
        """Find the weights, download published ones, and read their metadata; no torch.

        Raises UsageError if they cannot form an ensemble, UserError if one cannot be read.
        """
        files = [find_weights(name) for name in self.weights]
        own = [read_metadata(file) for file in files]
        changes = self.recorded.preprocessing
        if size := changes.get("image_size"):
            _check_onnx_sizes(zip(files, own, strict=True), size)
        metadata = [each.with_preprocessing(changes) for each in own]
        check_ensemble(list(zip(self.weights, metadata, strict=True)), self.crops)
        # An option that changes no network is as if it were not given.
        unset: dict[str, Any] = {
            name: None
            for name, value in changes.items()
            if all(getattr(each.preprocessing, name) == value for each in own)
        }
        if self.threshold is not None and metadata[0].outputs == "softmax":
            raise UsageError(
                f"--threshold: {self.weights[0]} has softmax outputs, for one label per image; "
                "thresholds need sigmoid outputs"
            )
        return EnsembleFiles(replace(self, **unset), files, metadata)


class EnsembleFiles(NamedTuple):
    """The weights files of a request, and their metadata with the preprocessing requested.

    The request is without options that all weights have by themselves.
    """

    request: EnsembleRequest
    files: Sequence[Path]
    metadata: Sequence[WeightsMetadata]

    @property
    def subset(self) -> tuple[int, ...] | None:
        """Positions of the classes that compete, in the first network's order; None for all.

        Raises UsageError or UserError as read_subset.
        """
        if self.request.classes is None:
            return None
        from inceptcli.data.class_subset import read_subset  # reads label files, as `eval` does

        ids, names = zip(*self.metadata[0].classes, strict=True)
        return read_subset(self.request.classes, ids, names)

    @property
    def classes(self) -> Sequence[ClassName]:
        """The classes that compete, in order."""
        own, subset = self.metadata[0].classes, self.subset
        return own if subset is None else [own[place] for place in subset]

    @property
    def headless(self) -> str | None:
        """The first weights without a trained classifier, as named in the request."""
        return next(
            (
                name
                for name, metadata in zip(self.request.weights, self.metadata, strict=True)
                if not metadata.has_classifier
            ),
            None,
        )

    def load(self, images: int | None = None, gradients: bool = False) -> Ensemble:
        """Load the networks, for `images` images in all if that is known; see load_engine.

        Raises UserError if one cannot be used.
        """
        with doing(f"loading {', '.join(self.request.weights)}"):
            return self._loaded(images, gradients)

    def _loaded(self, images: int | None, gradients: bool) -> Ensemble:
        asked = self.request
        at_once = asked.batch_size or default_batch_size(self.files, asked.device, asked.crops)
        first, *others = [
            [
                load_engine(
                    file,
                    device,
                    batch_size=at_once,
                    images=None if images is None else images * asked.crops,
                    compile_network=asked.compile,
                    precision=asked.precision,
                    gradients=gradients,
                    preprocessing=asked.recorded.preprocessing,
                )
                for file in self.files
            ]
            for device in devices_of(self.files, asked.device, asked.devices)
        ]
        ensemble = Ensemble(first, asked.crops, at_once, others, self.subset)
        if asked.threshold is not None:
            ensemble.thresholds = np.full(len(ensemble.classes), asked.threshold)
        return ensemble


def _check_preprocessing(changes: Mapping[str, Any]) -> None:
    """Raise UsageError if a field is of the wrong type or out of the range of weights files."""
    try:
        Preprocessing(**{"image_size": (MINIMUM_IMAGE_SIZE,) * 2, **changes})
    except ValueError as error:
        field, _, rule = str(error).partition(" ")
        raise UsageError(f"--{field.replace('_', '-')} {rule}") from error
    height, width = changes.get("image_size", (MINIMUM_IMAGE_SIZE,) * 2)
    if not (min(height, width) >= MINIMUM_IMAGE_SIZE and max(height, width) <= LONGEST_SIDE):
        raise UsageError(
            f"--image-size must be {MINIMUM_IMAGE_SIZE} to {LONGEST_SIDE} pixels a side, got "
            f"{height}x{width}"
        )
    if changes.get("crop_fraction", 1) < SMALLEST_CROP_FRACTION:
        raise UsageError(
            f"--crop-fraction must be {SMALLEST_CROP_FRACTION} to 1, got {changes['crop_fraction']}"
        )


def _check_onnx_sizes(files: Iterable[tuple[Path, WeightsMetadata]], size: tuple[int, int]) -> None:
    for file, metadata in files:
        own = metadata.preprocessing.image_size
        if size != own and is_onnx(file):
            raise UsageError(
                f"--image-size {size[0]}x{size[1]}: {file} is an ONNX file of fixed size "
                f"{own[0]}x{own[1]}; give the weights that it was exported from"
            )


def check_ensemble(members: Sequence[tuple[str, WeightsMetadata]], crops: Crops) -> None:
    """Raise UsageError, naming the weights, if they cannot form an ensemble with these crops."""
    if len(members) > 1:
        check_same_classes(members)
        check_same_outputs([(name, m.outputs, m.is_multi_label) for name, m in members])
    for name, metadata in members:
        try:
            check_crops(metadata.preprocessing, crops)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error


def check_same_classes(members: Sequence[tuple[str, WeightsMetadata]]) -> None:
    """Raise UsageError, naming the weights, unless all have named classes, and the same ones."""
    for name, metadata in members:
        if metadata.unnamed or not metadata.has_classifier:
            what = "its classes are unnamed" if metadata.unnamed else "has no trained classifier"
            raise UsageError(
                f"{name}: {what}, so it cannot be used with other weights; import it again with "
                "--classes FILE|FOLDER"
            )
    match_classes([(name, metadata.classes) for name, metadata in members])


def check_same_outputs(members: Sequence[tuple[str, OutputKind, bool]]) -> None:
    """Raise UsageError unless all networks (name, outputs, multi-label) are of one kind."""
    (first, *kind), *others = members
    for name, *own in others:
        if own != kind:
            raise UsageError(
                f"an ensemble needs the same outputs: {first} has {_kind(*kind)}, {name} has "
                f"{_kind(*own)}"
            )


def _kind(outputs: object, is_multi_label: object) -> str:
    return f"{outputs} outputs and {'any number of labels' if is_multi_label else 'one label'}"


def match_classes(members: Sequence[tuple[str, Sequence[ClassName]]]) -> list[list[int]]:
    """Return, for each network, the positions of its classes in the order of the first network.

    Classes are matched by id (synset, folder) or, if the ids differ, by name.

    Raises UsageError that names what differs.
    """
    first_name, first = members[0]
    orders = []
    for name, classes in members:
        for part in ("id", "name"):
            place_of = {composed(getattr(entry, part)): n for n, entry in enumerate(classes)}
            wanted = [composed(getattr(entry, part)) for entry in first]
            if len(place_of) == len(classes) and set(place_of) == set(wanted):
                orders.append([place_of[key] for key in wanted])
                break
        else:
            raise UsageError(
                f"the networks must have the same classes: {_lacking(first_name, first, classes)}; "
                f"{_lacking(name, classes, first)}"
            )
    return orders


def _lacking(name: str, classes: Sequence[ClassName], others: Sequence[ClassName]) -> str:
    """Describe the classes that only the network `name` has."""
    known = {composed(text) for entry in others for text in entry}
    only = [entry for entry in classes if known.isdisjoint(map(composed, entry))]
    shown = ", ".join(printable(entry.name) for entry in only[:3]) or "none"
    more = f" and {len(only) - 3} more" if len(only) > 3 else ""
    return f"only {name} ({len(classes)} classes) has {shown}{more}"


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Convert logits (..., num_classes) to probabilities that sum to 1, computed in float64.

    All are NaN if one of the logits is not finite.
    """
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    finite = np.isfinite(logits).all(axis=-1, keepdims=True)
    return np.where(finite, probabilities, np.nan)


def tempered(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Apply a temperature to probabilities (num_classes,) of one image; 1 changes no bit.

    For one crop, this is the softmax of the logits divided by the temperature. The first of the
    most probable classes stays the same, even where rounding makes others equal to it.
    """
    if temperature == 1:
        return probabilities
    powers = (probabilities / probabilities.max()) ** (1 / temperature)
    found: NDArray[np.float64] = powers / powers.sum()
    best = probabilities.argmax()
    if found.argmax() != best:
        found[best] = np.nextafter(found.max(), 1)
    return found


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Convert logits (..., num_classes) to a probability of each class, computed in float64.

    All are NaN if one of the logits is not finite.
    """
    wide = logits.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-wide))
    finite = np.isfinite(logits).all(axis=-1, keepdims=True)
    return np.where(finite, probabilities, np.nan)
