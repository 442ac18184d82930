"""Metadata of a weights file: JSON in the safetensors header. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import MINIMUM_IMAGE_SIZE, NetworkOptions, network_options
from inceptcli.weights.calibration import Calibration
from inceptcli.weights.header import SCHEMA_VERSION, parse_header

UNCHANGED: Mapping[str, Any] = MappingProxyType({})
"""No field of Preprocessing replaced; see `WeightsMetadata.with_preprocessing`."""

LONGEST_REASON = 300
"""Limit in characters for error messages that quote a file."""


def _version() -> str:
    from importlib.metadata import version  # takes 20 ms, and reading a file does not need it

    return version("inceptcli")


OutputKind = Literal["softmax", "sigmoid"]


class ClassName(NamedTuple):
    """One class: a unique `id` (folder name, synset) and a readable `name`."""

    id: str
    name: str


def _check(preprocessing: Preprocessing, options: NetworkOptions) -> None:
    """Raise ValueError if the network cannot process images prepared this way."""
    if min(preprocessing.image_size) < MINIMUM_IMAGE_SIZE:
        raise ValueError(f"image_size must be at least {MINIMUM_IMAGE_SIZE}")
    if len(preprocessing.mean) != options.in_channels:
        raise ValueError(f"mean must have one number per input channel, {options.in_channels}")


@dataclass(frozen=True)
class WeightsMetadata:
    """Everything `eval`, `predict`, `summarize` and `export` need besides the tensors.

    Attributes:
        network: Network options.
        classes: Classes in the order of the classifier's rows.
        preprocessing: Preprocessing of the images.
        recipe: Recipe of the training run, for information only.
        epoch: Epoch (1-based) after which the weights were saved.
        averaged: Whether the tensors are the moving average or the raw parameters.
        metrics: Validation metrics at that epoch.
        source_sha256: SHA-256 of the imported file.
        source: Origin of the imported file.
        initialized: State-dict keys missing in the imported file.
        assumed: "classes" or fields of Preprocessing that the imported file did not state.
        unnamed: Whether the class names are mere numbers, which cannot be matched by name.
        quantization: For int8 networks: the rule and the number of images that set the ranges of
            activations, the boxes in float32, the agreement with float32 (share of images for which
            both predict the same class), and the SHA-256 of the float32 weights file.
        environment: Versions and hardware used for training.
        calibration: Temperature and thresholds, if `calibrate` has added them.
        outputs: Function that makes probabilities of logits: softmax, or sigmoid of each class.
        thresholds: Multi-label weights only: a label's least probability, for each class.
        inceptcli_version: Version that wrote the file.
    """

    network: NetworkOptions
    classes: tuple[ClassName, ...]
    preprocessing: Preprocessing
    recipe: dict[str, Any] | None = None
    epoch: int | None = None
    averaged: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    source_sha256: str | None = None
    source: dict[str, str] = field(default_factory=dict)
    initialized: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    unnamed: bool = False
    quantization: dict[str, Any] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    outputs: OutputKind = "softmax"
    thresholds: list[float] | None = None
    inceptcli_version: str = field(default_factory=_version)

    @property
    def is_multi_label(self) -> bool:
        """Whether an image may have any number of labels."""
        return self.thresholds is not None

    @property
    def has_classifier(self) -> bool:
        """Whether the classifier was trained; without it only embeddings are meaningful."""
        return not any(key.startswith("classifier.") for key in self.initialized)

    def with_preprocessing(self, changes: Mapping[str, Any]) -> WeightsMetadata:
        """Return the metadata with some fields of the preprocessing replaced."""
        return replace(self, preprocessing=replace(self.preprocessing, **changes))

    def to_header(self) -> dict[str, str]:
        """Return the metadata for the safetensors header."""
        fields = {**asdict(self), "network": self.network.as_dict()}
        fields["preprocessing"] = self.preprocessing.as_dict()
        fields["classes"] = [list(name) for name in self.classes]
        # safetensors writes several keys in any order; a single key keeps files reproducible.
        return {"inceptcli": json.dumps({"schema_version": SCHEMA_VERSION, **fields})}

    @classmethod
    def from_header(cls, header: dict[str, str]) -> WeightsMetadata:
        """Parse a safetensors header; raise ValueError with the reason if it is not ours."""
        if "inceptcli" not in header:
            raise ValueError("it has tensors but was not written by inceptcli")
        try:
            header_fields = parse_header(header["inceptcli"])
            fields = header_fields.model_dump(exclude={"schema_version"})
            options = network_options(**fields.pop("network"))
            classes = tuple(ClassName(*entry) for entry in fields.pop("classes"))
            preprocessing = Preprocessing.from_dict(fields.pop("preprocessing"))
            _check(preprocessing, options)
            if (found := fields["calibration"]) is not None:
                if fields["outputs"] == "sigmoid":
                    raise ValueError("calibration needs outputs softmax")
                scores = tuple(found.pop("scores"))
                fields["calibration"] = Calibration(**found, scores=scores)
            metadata = cls(options, classes, preprocessing, **fields)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"its metadata is damaged: {str(error)[:LONGEST_REASON]}") from error
        if len(metadata.classes) != options.num_classes:
            counts = f"{len(metadata.classes)} class names for {options.num_classes} classes"
            raise ValueError(f"its metadata is damaged: {counts}")
        if metadata.thresholds is not None and len(metadata.thresholds) != options.num_classes:
            raise ValueError("its metadata is damaged: thresholds must have one per class")
        return metadata
