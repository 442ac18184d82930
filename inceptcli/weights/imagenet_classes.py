"""The classes of ImageNet (ILSVRC2012) in the order of every published classifier."""

from __future__ import annotations

import csv
from importlib.resources import files

from inceptcli.weights.metadata import ClassName


def imagenet_classes() -> tuple[ClassName, ...]:
    """1,000 synset ids, in alphabetical order, each with a name that no other class has.

    Source: WordNet 3.0. The name is the synset's first lemma; the five classes that would share one
    (crane, cardigan, maillot) are told apart by the synset's second or by its definition.
    """
    text = files("inceptcli.weights").joinpath("imagenet_classes.csv").read_text(encoding="utf-8")
    return tuple(ClassName(row["id"], row["name"]) for row in csv.DictReader(text.splitlines()))
