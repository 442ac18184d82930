"""The paper's own curves (Figures 21-26), digitized; paper_curves.csv says how.

Single-crop validation error without the blacklisted images, from epoch 20 on: to 200 of
Inception-v3 and Inception-ResNet-v1, to 160 of Inception-v4 and Inception-ResNet-v2.
"""

from __future__ import annotations

import csv
from importlib.resources import files

from inceptcli.plots.curve import Curve

NETWORKS = ("iv3", "irv1", "iv4", "irv2")
"""The paper's pairs: each residual network after the one of about its cost."""

PUBLISHED_METRICS = ("top1", "top5")


def paper_curves(metric: str) -> list[Curve]:
    """The four networks' curves of `metric`, top1 or top5, in percent."""
    text = (files("inceptcli.plots") / "paper_curves.csv").read_text()
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in NETWORKS}
    for row in csv.DictReader(lines):
        if row["metric"] == metric:
            points[row["network"]].append((float(row["epoch"]), float(row["error"])))
    return [
        Curve(
            f"paper {name}",
            metric,
            [epoch for epoch, _ in found],
            [error for _, error in found],
            published=True,
        )
        for name, found in points.items()
    ]
