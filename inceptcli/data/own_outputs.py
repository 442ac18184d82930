"""Folders that this program wrote: a run is no class, and its figures are no photographs."""

from __future__ import annotations

from collections.abc import Set

RUN_FILES = {"lock", "model.safetensors", "recipe.yaml", "train.log"}
"""Two of them make a run directory; a run that is just starting has a lock alone."""

EXPLANATIONS = "explanations.csv"
"""Beside the pictures of `predict --explain`."""


def is_own_output(names: Set[str]) -> bool:
    """Whether a folder with these names in it was written by `train` or `predict --explain`."""
    return len(names & RUN_FILES) > 1 or names == {"lock"} or EXPLANATIONS in names
