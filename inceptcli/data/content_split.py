"""Which images of a dataset validate, told by their content alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from inceptcli.errors import UsageError, UserError
from inceptcli.text import listed


def validating(
    digests: Sequence[bytes | None], labels: Sequence[int], val_fraction: float
) -> list[bool]:
    """Whether each image, of which `digests` has the SHA-256 and `labels` the class, validates.

    Those below `val_fraction` do. A class with two different images or more keeps one on each
    side: where none is below, its smallest validates, where all are, its largest trains. Equal
    images never part, and one that is added moves no other, unless it becomes such a smallest or
    largest. What cannot be read (None), and the only image of a class, trains.

    Raises UsageError when `val_fraction` is not between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise UsageError(f"val_fraction must be between 0 and 1, got {val_fraction}")
    classes: defaultdict[int, set[bytes]] = defaultdict(set)
    for digest, label in zip(digests, labels, strict=True):
        if digest is not None:
            classes[label].add(digest)
    order = [classes[label] for label in sorted(classes)]
    val = {d for found in order for d in found if int.from_bytes(d[:6]) / 2**48 < val_fraction}
    for found in order:
        if len(found) == 1:
            val -= found
    several = [found for found in order if len(found) > 1]
    for found in several:  # another class that has the same image must keep one on this side, too
        if not found & val:
            val |= _first(sorted(found), [other - val for other in several])
    for found in several:
        if found <= val:
            val -= _first(sorted(found, reverse=True), [other & val for other in several])
    return [digest in val for digest in digests]


def _first(candidates: Sequence[bytes], left: Sequence[set[bytes]]) -> set[bytes]:
    """The first that is in no class the last of its side."""
    return {next((one for one in candidates if all(side != {one} for side in left)), candidates[0])}


def unvalidated(
    is_val: Sequence[bool], labels: Sequence[int], classes: Sequence[str], val_fraction: float
) -> str | None:
    """A line about the classes that have images but none that validates; None without such.

    Raises UserError when no image validates.
    """
    if not any(is_val):
        raise UserError(
            f"val_fraction {val_fraction}: no class has two different images, so none can validate;"
            " add images, or give --val-data"
        )
    seen = set(labels) - {label for label, val in zip(labels, is_val, strict=True) if val}
    if not seen:
        return None
    names = [classes[label] for label in sorted(seen)]
    return (
        f"{len(names)} of {len(classes)} classes have a single image, which trains, and none to "
        f"validate on: {listed(names)}"
    )
