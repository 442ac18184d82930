"""ImageNet (ILSVRC2012) classes in the order of published classifiers."""

from __future__ import annotations

import csv
from importlib.resources import files

from inceptcli.weights.metadata import ClassName


def imagenet_classes() -> tuple[ClassName, ...]:
    """Return 1,000 synset ids in alphabetical order, each with a unique name.

    Source: WordNet 3.0. The name is the synset's first lemma. The five classes that would share one
    (crane, cardigan, maillot) are distinguished by the second lemma or the definition.
    """
    text = files("inceptcli.weights").joinpath("imagenet_classes.csv").read_text(encoding="utf-8")
    return tuple(ClassName(row["id"], row["name"]) for row in csv.DictReader(text.splitlines()))
