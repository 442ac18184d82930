"""The model card of weights: README.md of a Hugging Face hub repository. No torch."""

from __future__ import annotations

import re
from html import escape
from typing import Any, NamedTuple

import yaml
from huggingface_hub import EvalResult, ModelCardData

from inceptcli.evaluation.recorded_measures import NAMES, Measures
from inceptcli.networks.registry import NETWORKS
from inceptcli.text import printable
from inceptcli.weights.metadata import WeightsMetadata
from inceptcli.weights.origin import origin_in_words

MOST_CLASSES = 200
"""Longest list of classes."""

METRIC_TYPES = {"top1": "accuracy", "top5": "accuracy", "macro_f1": "f1"}
"""The hub's names of measures."""

TIMM = """```python
import timm

model = timm.create_model("hf-hub:OWNER/NAME", pretrained=True).eval()
view = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**view, is_training=False)
```"""


class TrainedImages(NamedTuple):
    """Number of training and validation images of a run; None if unknown."""

    training: int | None = None
    validation: int | None = None


def model_card(
    metadata: WeightsMetadata,
    for_timm: bool,
    license_id: str,
    measures: Measures | None,
    trained: TrainedImages = TrainedImages(),  # noqa: B008 (an immutable tuple)
) -> str:
    """Return YAML front matter and Markdown; `for_timm` if the weights are in timm's format.

    Text from files is escaped: neither markup nor YAML. `metadata` contains no local paths.
    """
    network = metadata.network
    height, width = metadata.preprocessing.image_size
    count = f"{network.num_classes} classes" if metadata.has_classifier else "embeddings only"
    title = f"{NETWORKS[network.name].title}: {count}, images of {height}x{width}"
    parts = {
        "Use": _use(for_timm),
        "Classes": _classes(metadata),
        "Data": _data(metadata, trained),
        "Measures": _measures(measures),
        "Preprocessing": "\n".join(metadata.preprocessing.in_words()),
        "Recipe": _recipe(metadata),
        "Origin": "\n".join(f"- {_text(line)}" for line in origin_in_words(metadata)),
        "License": f"`{license_id}`",
    }
    body = "".join(f"\n## {heading}\n\n{text}\n" for heading, text in parts.items())
    about = f"{NETWORKS[network.name].title} ({NETWORKS[network.name].layout}), `{network.name}`."
    head = _head(metadata, for_timm, license_id, measures)
    return f"---\n{head}\n---\n\n# {title}\n\n{about}\n{body}"


def _head(
    metadata: WeightsMetadata, for_timm: bool, license_id: str, measures: Measures | None
) -> str:
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",
            # The output of `eval` does not say on which data it measured.
            dataset_name="not known" if measures and measures.weights else _data_name(metadata),
            dataset_split=measures.split if measures else None,
            metric_type=METRIC_TYPES[figure.key],
            metric_name=NAMES[figure.key],
            metric_value=round(figure.value, 6),
        )
        for figure in (measures.figures if measures else ())
        if figure.key in METRIC_TYPES
    ]
    task = "classification" if metadata.has_classifier else "feature-extraction"
    card = ModelCardData(
        license=license_id,
        library_name="timm" if for_timm else "inceptcli",
        pipeline_tag=f"image-{task}",
        tags=["image-classification", "inceptcli", *(["timm"] if for_timm else [])],
        model_name=metadata.network.name if results else None,
        eval_results=results or None,
    )
    return card.to_yaml().strip()


def _use(for_timm: bool) -> str:
    ours = "```\ninceptcli predict photo.jpg --weights hf-hub:OWNER/NAME\n```"
    return f"{TIMM}\n\n{ours}" if for_timm else ours


def _classes(metadata: WeightsMetadata) -> str:
    if not metadata.has_classifier:
        return "None: the network has no trained classifier."
    if metadata.unnamed:
        return f"{len(metadata.classes)}; their names are not known."
    if len(metadata.classes) > MOST_CLASSES:
        return f"{len(metadata.classes)}; their names are in the weights file."
    rows = [
        f"| {index} | {_text(entry.id)} | {_text(entry.name)} |"
        for index, entry in enumerate(metadata.classes)
    ]
    return "\n".join(["| row | id | name |", "|---|---|---|", *rows])


def _data_name(metadata: WeightsMetadata) -> str:
    data = (metadata.recipe or {}).get("data")
    if not isinstance(data, dict):
        return "not known"
    return printable(data.get("path") or "shapes")


def _data(metadata: WeightsMetadata, trained: TrainedImages) -> str:
    if metadata.recipe is None:
        return "Not known: these weights do not record their training images."
    name = _data_name(metadata)
    drawn = " (drawn by the program)" if name == "shapes" else ""
    known = {"training": trained.training, "validation": trained.validation}
    counts = [f"{count:,} {part} images" for part, count in known.items() if count is not None]
    return f"{_text(name)}{drawn}{': ' * bool(counts)}{', '.join(counts)}."


def _measures(measures: Measures | None) -> str:
    if measures is None:
        return "None is recorded."
    images = "a number of images that is not recorded"
    if measures.images is not None:
        images = f"{measures.images:,} images"
    rows = [
        f"| {NAMES[figure.key]} | {figure.value:.4f} | "
        + ("not known |" if (i := figure.interval) is None else f"{i[0]:.4f} to {i[1]:.4f} |")
        for figure in measures.figures
    ]
    head = ["| measure | value | interval of 95 % |", "|---|---|---|"]
    lines = [f"On {images}: {_text(measures.what)}.", "", *head, *rows]
    if any(figure.interval for figure in measures.figures):
        lines += ["", f"Intervals: {_text(measures.intervals)}."]
    return "\n".join(lines)


def _recipe(metadata: WeightsMetadata) -> str:
    if metadata.recipe is None:
        return "Not known."
    text = yaml.safe_dump(metadata.recipe, sort_keys=False, allow_unicode=False, width=90)
    return "\n".join(f"    {line}" for line in text.splitlines())


def _text(value: Any) -> str:
    """Escape text so that Markdown shows it literally."""
    shown = escape(printable(value), quote=False)
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", shown)
