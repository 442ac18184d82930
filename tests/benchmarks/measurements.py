"""Write the guide's page of measurements from the results of the benchmarks.

    python -m tests.benchmarks.measurements

Renders measurements.md.jinja with tests/benchmarks/results/*.json into inceptcli/guide/.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from inceptcli.guide.pages import FOLDER
from tests.benchmarks.comparison import RESULTS

PAGE = FOLDER / "measurements.md"
TEMPLATE = Path(__file__).with_suffix(".md.jinja")
QUOTE = """\
{% set photo = start["one photo"]["predict, weights file"] -%}
{% set photos = many_photographs["predict, weights file"] -%}
On two CPU cores, one photo takes {{ photo.seconds.median | fixed(2) }} s from start to answer,
{{ photo.ratio.median | fixed(1) }} times as fast as a minimal timm script.
{{ many_photographs.images }} photos take {{ photos.wall_seconds | fixed(1) }} s,
{{ (many_photographs.timm.wall_seconds / photos.wall_seconds) | fixed(1) }} times as fast as timm
with its own loader.
"""
"""The figures that README quotes."""
IMAGENET = 1_281_167
YEAR = 365 * 24 * 3600
LABELS = {
    "timm": "timm",
    "timm, a minimal script": "timm, a minimal script",
    "timm, as it comes": "timm",
    "predict, weights file": "inceptcli, weights file",
    "predict, .onnx": "inceptcli, `.onnx` file",
    "predict, int8": "inceptcli, int8",
    "ours": "inceptcli",
    "ours, compiled": "inceptcli, compiled",
    "ours, weights file": "inceptcli, weights file",
    "ours, exported (.onnx)": "inceptcli, `.onnx` file",
    "ours, torch, for heat maps": "inceptcli, torch (heat maps)",
    "OpenVINO on our .onnx": "OpenVINO with the exported `.onnx` file",
    "1 threads": "1 thread",
    "as `predict` reads them": "one process per processor, as in `predict`",
    "colors off, uint8": "without color distortion, uint8",
    "colors on, uint8": "with color distortion, uint8",
    "colors off, float32": "without color distortion, float32",
    "colors on, float32": "with color distortion, float32",
}
"""Names of the results' rows on the page, where they differ."""


def fixed(value: float, digits: int) -> str:
    """A number with `digits` decimal places and commas between thousands."""
    return f"{value:,.{digits}f}"


def environment() -> Environment:
    """Jinja that fails for a result that does not exist."""
    made = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    made.filters["fixed"] = fixed
    return made


def values() -> dict[str, Any]:
    """All results by the name of their benchmark, and the estimates derived from `growth`."""
    results = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    growth = results["growth"]
    irv2 = growth["networks"]["irv2"]
    milliseconds = {style: row["cpu_milliseconds_each"] for style, row in growth["images"].items()}
    return {
        **results,
        "results": results,
        "IMAGENET": IMAGENET,
        "YEAR": YEAR,
        "label": lambda name: LABELS.get(name, name),
        "forward_parts": [
            name for name, part in results["forward"].items() if "contestants" in part
        ],
        "irv2": irv2,
        "per_core": {style: 1000 / each for style, each in milliseconds.items()},
        "all_reduce": 2 * 7 / 8 * irv2["gradient_bytes"] / 1e6,
        "save_every": lambda hours: math.sqrt(2 * irv2["save_seconds"] * hours * 3600),
        "lost": lambda hours: math.sqrt(2 * irv2["save_seconds"] / (hours * 3600)),
        "predict_hours": IMAGENET * irv2["prediction_cpu_seconds_each"] / 3600,
    }


def render(template: str, given: Mapping[str, Any] | None = None) -> str:
    """A template with the values `given`, by default those of the stored results."""
    text = environment().from_string(template).render(values() if given is None else given)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def main() -> None:
    """Write the page, and print the sentence that README quotes."""
    PAGE.write_text(render(TEMPLATE.read_text()))
    print(render(QUOTE))


if __name__ == "__main__":
    main()
