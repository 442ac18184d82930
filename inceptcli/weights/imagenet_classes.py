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
    return tuple(ClassName(row["id"], row["name"]) for row in _rows())


def ilsvrc_numbers() -> dict[str, int]:
    """Return ILSVRC2012_ID, 1 to 1000, by synset id: the labels that ILSVRC's server takes.

    Source: the development kit's map_clsloc.txt, in the order of its meta_clsloc.mat, which is that
    of ILSVRC2012's meta.mat.
    """
    return {row["id"]: int(row["ilsvrc"]) for row in _rows()}


def _rows() -> csv.DictReader[str]:
    text = files("inceptcli.weights").joinpath("imagenet_classes.csv").read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())
