"""Quantize a network to int8, compare it with float32, and keep boxes in float32 where needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptcli.errors import UsageError, UserError
from inceptcli.files.regular_file import sha256_of
from inceptcli.prediction.engines.onnx_engine import quiet_onnxruntime
from inceptcli.prediction.export import exported_graph
from inceptcli.progress.display import Display
from inceptcli.quantization.box_noise import signal_to_noise, sources
from inceptcli.quantization.cost import (
    Answers,
    Int8Cost,
    agreement,
    answers,
    int8_cost,
    interleaved,
)
from inceptcli.quantization.images import ChosenImages, FoundImages, choose, find
from inceptcli.quantization.int8_graph import (
    Method,
    activation_ranges,
    quantizable,
    quantized_graph,
)
from inceptcli.weights.fetched.published import find_weights
from inceptcli.weights.file import read_metadata
from inceptcli.weights.metadata import WeightsMetadata
from inceptcli.weights.onnx_file import is_onnx

if TYPE_CHECKING:
    from onnx import ModelProto

NOISE_IMAGES = 32
"""Images on which the noise of each box is measured."""

WORST = 3
"""Boxes with the lowest signal to noise, whose own agreement is measured."""


MOST_TRIED = 16
"""Largest number of boxes in float32 of which each is tried in int8 again."""


@dataclass(frozen=True)
class QuantizationRequest:
    """One quantization.

    Attributes:
        weights: Published name, hub repository, weights file or run directory.
        images: Folder of class folders, folder of images, label file or tar shards.
        calibration_images: Largest number of images that set the ranges of activations.
        check_images: Largest number of other images that check the result.
        method: Rule for the range of an activation.
        percentile: Percentage of the values that a range covers, for the method percentile.
        least_agreement: Share of the check images whose predicted class must stay the same.
        keep_float: Boxes, stages or modules to keep in float32; auto keeps as few as the agreement
            needs.
        seed: Seed of the choice of images.
    """

    weights: str
    images: str
    calibration_images: int = 64
    check_images: int = 256
    method: Method = "percentile"
    percentile: float = 99.999
    least_agreement: float = 0.98
    keep_float: Literal["auto"] | tuple[str, ...] = ()
    seed: int = 0

    def prepare(self) -> PreparedQuantization:
        """Find weights and images.

        Raises UsageError or UserError if they are missing, do not match or cannot be quantized.
        """
        file = find_weights(self.weights)
        metadata = read_metadata(file)
        if metadata.quantization is not None:
            raise UsageError(f"{file}: is already quantized; give the weights it was made from")
        if is_onnx(file):
            raise UsageError(f"{file}: an ONNX file; give the weights it was exported from")
        if not metadata.has_classifier:
            raise UsageError(f"{file}: has no trained classifier, so int8 cannot be checked")
        return PreparedQuantization(self, file, metadata, find(self.images, file, metadata))


class QuantizedBox(NamedTuple):
    """A quantized box of the figure.

    `signal_to_noise` is in decibels, infinite for an exact box, with this box alone in int8.
    `agreement` is that of the network with this box alone in int8, measured for the worst boxes.
    """

    box: str
    signal_to_noise: float
    agreement: float | None = None


@dataclass(frozen=True)
class Quantization:
    """An int8 network and its cost.

    Attributes:
        file: The int8 network, a file in a temporary folder.
        cost: Cost on the check images.
        images: The images that set the ranges, and the others.
        kept_float: Boxes in float32.
        boxes: Boxes of the whole network in int8, in the order of the figure.
        bytes: Size of the file.
        bytes_float: Size of the weights file.
    """

    file: Path
    cost: Int8Cost
    images: ChosenImages
    kept_float: tuple[str, ...]
    boxes: tuple[QuantizedBox, ...]
    bytes: int
    bytes_float: int


class PreparedQuantization(NamedTuple):
    """A quantization with its weights and images found."""

    request: QuantizationRequest
    file: Path
    metadata: WeightsMetadata
    found: FoundImages

    def run(self, folder: Path) -> Quantization:
        """Quantize and compare; the network is a file in `folder`.

        Raises UsageError for an unknown box, UserError if too few images can be read or if the
        predictions agree on too few images.
        """
        asked, metadata = self.request, self.metadata
        quiet_onnxruntime()
        graph = exported_graph(self.file, metadata)
        kept = () if asked.keep_float == "auto" else boxes_named(asked.keep_float, graph)
        wanted = min(asked.calibration_images + asked.check_images, len(self.found.source))
        with Display().task("read", wanted) as task:
            images = choose(
                self.found,
                metadata.preprocessing,
                asked.calibration_images,
                asked.check_images,
                asked.seed,
                task.advance,
            )
        with Display().task("set ranges", len(images.calibration)) as task:
            ranges = activation_ranges(
                graph, images.calibration, asked.method, asked.percentile, task.advance
            )
        return _quantized(self, images, Int8Networks(graph, ranges, folder), kept)


class Int8Networks:
    """Writes int8 networks, with some boxes in float32, as files in a folder."""

    def __init__(self, graph: ModelProto, ranges: Any, folder: Path) -> None:
        self.graph, self.ranges, self.folder = graph, ranges, folder
        self.whole = quantized_graph(graph, ranges)
        self.sources = sources(self.whole)

    def without(self, boxes: Sequence[str]) -> Path:
        """Write the network with `boxes` in float32."""
        return self._written(quantized_graph(self.graph, self.ranges, float32=boxes))

    def alone(self, box: str) -> Path:
        """Write the network with one box in int8."""
        return self._written(quantized_graph(self.graph, self.ranges, only=[box]))

    def final(self, boxes: Sequence[str], metadata: WeightsMetadata) -> Path:
        """Write the network with `boxes` in float32, and its metadata."""
        model = quantized_graph(self.graph, self.ranges, float32=boxes)
        del model.metadata_props[:]
        for key, value in metadata.to_header().items():
            model.metadata_props.add(key=key, value=value)
        return self._written(model)

    def _written(self, model: ModelProto) -> Path:
        from onnx import save

        file = self.folder / "int8.onnx"
        save(model, file)
        return file


def _quantized(
    job: PreparedQuantization,
    images: ChosenImages,
    networks: Int8Networks,
    kept: tuple[str, ...],
) -> Quantization:
    asked, check = job.request, images.check
    boxes = _noise(networks, check[:NOISE_IMAGES])
    float32, int8 = _in_turn(job.file, networks.without(kept), check)
    if asked.keep_float == "auto" and agreement(float32, int8) < asked.least_agreement:
        kept = _fewest(networks, boxes, float32, check, asked.least_agreement)
        float32, int8 = _in_turn(job.file, networks.without(kept), check)
    for box in sorted(boxes, key=lambda box: box.signal_to_noise)[:WORST]:
        alone = _predicted(f"compare {box.box}", networks.alone(box.box), check)
        share = agreement(float32, alone)
        boxes[boxes.index(box)] = box._replace(agreement=share)
    cost = int8_cost(float32, int8, images.labels)
    if not cost.agreement >= asked.least_agreement:
        raise UserError(_too_little(asked, cost, boxes, len(check)))
    record = {
        "method": asked.method,
        "percentile": asked.percentile if asked.method == "percentile" else None,
        "images": len(images.calibration),
        "float32": list(kept),
        "agreement": cost.agreement,
        "weights_sha256": sha256_of(job.file),
    }
    file = networks.final(kept, replace(job.metadata, quantization=record, calibration=None))
    sizes = file.stat().st_size, job.file.stat().st_size
    return Quantization(file, cost, images, kept, tuple(boxes), *sizes)


def boxes_named(names: Sequence[str], graph: ModelProto) -> tuple[str, ...]:
    """Return the boxes of a graph with these names, or in the stages and modules of these names.

    Raises UsageError for a name without a box that can be quantized.
    """
    boxes = quantizable(graph)
    for name in names:
        if not any(f"{box}.".startswith(f"{name}.") for box in boxes):
            similar = get_close_matches(name, boxes, n=1, cutoff=0)
            raise UsageError(
                f"--keep-float {name}: the network has no such box to quantize; did you "
                f"mean {similar[0]}?"
            )
    prefixes = tuple(f"{name}." for name in names)
    return tuple(box for box in boxes if f"{box}.".startswith(prefixes))


def _noise(networks: Int8Networks, crops: NDArray[np.uint8]) -> list[QuantizedBox]:
    """Return the signal to noise of each box alone, in the order of the figure."""
    with Display().task("measure noise", len(crops)) as task:
        found = signal_to_noise(networks.graph, networks.whole, crops, task.advance)
    return [QuantizedBox(*entry) for entry in found.items()]


def _in_turn(first: Path, second: Path, crops: NDArray[np.uint8]) -> list[Answers]:
    with Display().task("compare", len(crops)) as task:
        return interleaved([first, second], crops, task.advance)


def _predicted(label: str, file: Path, crops: NDArray[np.uint8]) -> Answers:
    with Display().task(label, len(crops)) as task:
        return answers(file, crops, task.advance)


def _fewest(
    networks: Int8Networks,
    boxes: Sequence[QuantizedBox],
    float32: Answers,
    crops: NDArray[np.uint8],
    least: float,
) -> tuple[str, ...]:
    """Return the boxes, as few as can be, that give the agreement `least` when kept in float32.

    The boxes with the most noise are added, each with those that compute its inputs, whose outputs
    would be rounded all the same. Their number is doubled until it is enough and narrowed down by
    bisection. Then each box that is not needed after all is quantized again.
    """
    order = [box.box for box in sorted(boxes, key=lambda box: box.signal_to_noise)]

    def with_sources(number: int) -> list[str]:
        chosen = {*order[:number]}.union(*map(networks.sources.__getitem__, order[:number]))
        return [box.box for box in boxes if box.box in chosen]

    def is_enough(kept: Sequence[str]) -> bool:
        label = f"keep {len(kept)} in float32"
        return agreement(float32, _predicted(label, networks.without(kept), crops)) >= least

    too_few, enough = 0, 1
    while enough < len(order) and not is_enough(with_sources(enough)):
        too_few, enough = enough, min(2 * enough, len(order))
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if is_enough(with_sources(middle)) else (middle, enough)
    kept = with_sources(enough)
    for box in kept if len(kept) <= MOST_TRIED else ():
        fewer = [other for other in kept if other != box]
        kept = fewer if is_enough(fewer) else kept
    return tuple(kept)


def _too_little(
    asked: QuantizationRequest, found: Int8Cost, boxes: Sequence[QuantizedBox], images: int
) -> str:
    worst = sorted(boxes, key=lambda box: box.signal_to_noise)[:WORST]
    named = ", ".join(f"{box.box} ({box.signal_to_noise:.1f} dB)" for box in worst)
    return (
        f"int8 and float32 predict the same class for {found.agreement:.2%} of {images} images, "
        f"fewer than --least-agreement {asked.least_agreement}; nothing was written. The boxes "
        f"with the most noise: {named}. --keep-float auto keeps as few as needed in float32"
    )
