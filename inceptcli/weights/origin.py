"""Readable description of the origin of weights. No torch."""

from __future__ import annotations

from inceptcli.text import number_of
from inceptcli.weights.metadata import WeightsMetadata


def origin_in_words(metadata: WeightsMetadata) -> list[str]:
    """Describe the origin of a weights file and what was assumed, one line per item."""
    parts = ["moving average of the weights" if metadata.averaged else "raw weights"]
    if metadata.epoch is not None:
        parts.append(f"after epoch {metadata.epoch}")
    parts += [f"{name} {value:.4g}" for name, value in metadata.metrics.items()]
    lines = [", ".join(parts)]
    source = dict(metadata.source)
    if family := source.pop("family", None):
        known = {"source sha256": metadata.source_sha256, **source}
        origins = [f"{name} {value}" for name, value in known.items() if value]
        lines.append(f"imported from {family}: {', '.join(origins)}")
    if (int8 := metadata.quantization) is not None:
        lines.append(
            f"int8, ranges by {int8['method']} on {int8['images']} images, predicts the same class "
            f"as float32 for {int8['agreement']:.2%}"
        )
        lines.append(f"boxes in float32: {', '.join(int8['float32']) or 'none'}")
    if metadata.environment:
        found = metadata.environment.items()
        lines.append("trained with " + ", ".join(f"{name} {value}" for name, value in found))
    if (calibration := metadata.calibration) is not None:
        count = number_of(calibration.images, "image")
        temperature = f"temperature {calibration.temperature:.4g}"
        lines.append(f"calibrated on {count} of {calibration.data}: {temperature}")
    if metadata.assumed:
        lines.append(f"assumed at import: {', '.join(metadata.assumed)}")
    if metadata.unnamed:
        lines.append("its classes are unnamed")
    if not metadata.has_classifier:
        lines.append("it has no trained classifier: it supports embeddings only")
    return lines
