"""What a weights file says about itself: JSON in the safetensors header. No torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import MINIMUM_IMAGE_SIZE, NetworkOptions, network_options
from inceptcli.weights.header import SCHEMA_VERSION, parse_header

LONGEST_REASON = 300
"""Characters of a message that may repeat what a file says."""


def _version() -> str:
    from importlib.metadata import version  # 20 ms that reading a file does not need

    return version("inceptcli")


class ClassName(NamedTuple):
    """One class: `id` is unique (a folder's name, a synset), `name` is what people read."""

    id: str
    name: str


def _check(preprocessing: Preprocessing, options: NetworkOptions) -> None:
    """ValueError where a network cannot take such images."""
    if min(preprocessing.image_size) < MINIMUM_IMAGE_SIZE:
        raise ValueError(f"image_size must be at least {MINIMUM_IMAGE_SIZE}")
    if len(preprocessing.mean) != options.in_channels:
        raise ValueError(f"mean must be as many numbers as in_channels, {options.in_channels}")


@dataclass(frozen=True)
class WeightsMetadata:
    """Everything but the tensors: `eval`, `predict`, `summarize` and `export` need nothing else.

    `recipe` is a record of how the weights were trained, never an order. `averaged` says whether
    the tensors are the running average or the raw parameters, `epoch` (1-based) after which epoch
    they were saved, `metrics` what was measured on them then. Of an imported file `source_sha256`
    is the hash, `source` says where it came from, `initialized` lists the state-dict keys that it
    lacked, and `assumed` what it did not say: "classes" or fields of Preprocessing. Classes that
    are `unnamed` are numbers, which match nothing by name. `environment` is what trained them.
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
    environment: dict[str, str] = field(default_factory=dict)
    inceptcli_version: str = field(default_factory=_version)

    @property
    def has_classifier(self) -> bool:
        """Whether the classifier was trained; else nothing but the embeddings means anything."""
        return not any(key.startswith("classifier.") for key in self.initialized)

    def to_header(self) -> dict[str, str]:
        """The safetensors header's free-form part."""
        fields = {**asdict(self), "network": self.network.as_dict()}
        fields["preprocessing"] = self.preprocessing.as_dict()
        fields["classes"] = [list(name) for name in self.classes]
        # One key: safetensors writes several in any order, and equal weights are equal bytes.
        return {"inceptcli": json.dumps({"schema_version": SCHEMA_VERSION, **fields})}

    @classmethod
    def from_header(cls, header: dict[str, str]) -> WeightsMetadata:
        """The other way round; ValueError with the reason when the header is not one of ours."""
        if "inceptcli" not in header:
            raise ValueError("it has tensors but was not written by inceptcli")
        try:
            header_fields = parse_header(header["inceptcli"])
            fields = header_fields.model_dump(exclude={"schema_version"})
            options = network_options(**fields.pop("network"))
            classes = tuple(ClassName(*entry) for entry in fields.pop("classes"))
            preprocessing = Preprocessing.from_dict(fields.pop("preprocessing"))
            _check(preprocessing, options)
            metadata = cls(options, classes, preprocessing, **fields)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"its metadata is damaged: {str(error)[:LONGEST_REASON]}") from error
        if len(metadata.classes) != options.num_classes:
            counts = f"{len(metadata.classes)} class names for {options.num_classes} classes"
            raise ValueError(f"its metadata is damaged: {counts}")
        return metadata
