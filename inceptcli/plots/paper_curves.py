"""The paper's curves (Figures 21-26), digitized; see the head of paper_curves.csv.

Single-crop validation error without the blacklisted images, from epoch 20: to 200 for Inception-v3
and Inception-ResNet-v1, to 160 for Inception-v4 and Inception-ResNet-v2.
"""

from __future__ import annotations

import csv
from importlib.resources import files

from inceptcli.plots.curve import Curve

NETWORKS = ("iv3", "irv1", "iv4", "irv2")
"""The paper's pairs: each residual network follows the network of similar cost."""

OF_EXCLUDED_IMAGES = {"top1": 0.3, "top5": 0.15}
"""Points by which excluding some 1,700 images lowers each error, according to section 5."""

PUBLISHED_METRICS = tuple(OF_EXCLUDED_IMAGES)


def paper_curves(metric: str, of_all_images: bool = False) -> list[Curve]:
    """Return the four networks' curves of `metric`, top1 or top5, in percent.

    With `of_all_images`, add OF_EXCLUDED_IMAGES, and say so in the names.
    """
    added = OF_EXCLUDED_IMAGES[metric] if of_all_images else 0
    ending = " (all images)" if of_all_images else ""
    text = (files("inceptcli.plots") / "paper_curves.csv").read_text()
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in NETWORKS}
    for row in csv.DictReader(lines):
        if row["metric"] == metric:
            points[row["network"]].append((float(row["epoch"]), float(row["error"])))
    return [
        Curve(
            f"paper {name}{ending}",
            metric,
            [epoch for epoch, _ in found],
            [error + added for _, error in found],
            published=True,
        )
        for name, found in points.items()
    ]
