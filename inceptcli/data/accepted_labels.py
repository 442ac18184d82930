"""Several accepted labels per image from a JSON file, as those of ReaL (Beyer et al. 2020)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from inceptcli.data.exclusion import roots_of
from inceptcli.data.label_files import (
    ILSVRC_NAME,
    LONGEST_SHOWN,
    Labels,
    usual_order,
)
from inceptcli.data.selected_images import SelectedImages
from inceptcli.data.sources import FolderSource, ImageSource
from inceptcli.data.text_files import as_it_lies, read_text
from inceptcli.errors import UserError
from inceptcli.text import printable


class Relabeled(NamedTuple):
    """Images with accepted labels, the number left out without any, and notes to log."""

    images: SelectedImages
    unlabeled: int
    notes: tuple[str, ...]


def relabeled(
    source: ImageSource, file: Path, ids: Sequence[str], names: Sequence[str], data: str
) -> Relabeled:
    """Return the images of `data` with the labels that a JSON file accepts for each.

    The file is a list, whose entry N (from 0) belongs to ILSVRC2012_val_{N+1}.JPEG in any folder,
    or an object whose keys are paths, relative to `data` or as given, or names of ILSVRC's
    validation images. Each entry is a list of classes: positions from 0 as numbers, and ids or
    names as text. Of a thousand synsets, positions are those in alphabetical order, as in published
    classifiers; else in `ids`. An empty list leaves the image out.

    Raises:
        UsageError: `file` cannot be read.
        UserError: `file` is anything else, an image is missing in it, or no image has a label.
    """
    shown, entries = str(file), _entries(file)
    if isinstance(entries, list):
        found = _by_number(source, entries, shown)
    else:
        found = _by_path(source, entries, shown, data)
    known, order = Labels(ids, names, ids), usual_order(ids)
    place_of = {name: place for place, name in enumerate(ids)}
    places = [place_of[name] for name in order or ids]
    numbers, accepted = [], []
    for number in range(len(source)):
        place = f"{shown}: {source.name(number)}"
        if number not in found:
            lacking = len(source) - len(found)
            raise UserError(f"{place} has no labels ({lacking} of {len(source)} images lack them)")
        if labels := _labels(found[number], known, places, place):
            numbers.append(number)
            accepted.append(labels)
    if not numbers:
        raise UserError(f"{shown}: accepts no label of any of the {len(source)} images")
    unlabeled, absent = len(source) - len(numbers), len(entries) - len(found)
    notes = []
    if unlabeled:
        notes.append(f"{unlabeled} of {len(source)} images have no label in {shown}: left out")
    if absent > 0:
        what = f"{absent} of the {len(entries)} images in {shown}"
        notes.append(f"{what} are not among the {len(source)} to measure")
    return Relabeled(
        SelectedImages(source, tuple(numbers), tuple(accepted)), unlabeled, tuple(notes)
    )


def _entries(file: Path) -> list[Any] | dict[str, Any]:
    try:
        values = json.loads(read_text(file, "--labels"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{file}: not JSON of accepted labels: {reason}") from error
    if not isinstance(values, list | dict):
        raise UserError(
            f"{file}: must be a list of lists of classes, one for each of ILSVRC's validation "
            "images, or an object {path: [classes]}"
        )
    return values


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key[:LONGEST_SHOWN]} is there twice")
        found[key] = value
    return found


def _by_number(source: ImageSource, entries: Sequence[Any], shown: str) -> dict[int, Any]:
    """Return the entries by image number in `source`; file names have the position in the list."""
    found = {}
    for number in range(len(source)):
        name = source.name(number)
        match = ILSVRC_NAME.fullmatch(PurePosixPath(name).name)
        if match is None:
            raise UserError(
                f"{shown}: is a list, so it labels ILSVRC2012_val_00000001.JPEG and so on, not "
                f"{name}; give an object {{path: [classes]}}"
            )
        if 0 < int(match[1]) <= len(entries):
            found[number] = entries[int(match[1]) - 1]
    return found


def _by_path(
    source: ImageSource, entries: Mapping[str, Any], shown: str, data: str
) -> dict[int, Any]:
    """Return the entries by image number in `source`; raise UserError if two are of one image."""
    numbers: dict[str, int] = {}
    for number in range(len(source)):
        name = source.name(number)
        numbers[os.path.normpath(name)] = number
        if ILSVRC_NAME.fullmatch(PurePosixPath(name).name):
            numbers.setdefault(PurePosixPath(name).name, number)
    roots = roots_of(source, data) if isinstance(source, FolderSource) else {Path(data)}
    found: dict[int, Any] = {}
    for path, entry in entries.items():
        places = (os.path.normpath(as_it_lies(root, path)) for root in (*roots, Path()))
        meant = next((numbers[place] for place in (*places, path) if place in numbers), None)
        if meant in found:
            raise UserError(f"{shown}: {_cut(path)} is there twice")
        if meant is not None:
            found[meant] = entry
    return found


def _labels(entry: Any, known: Labels, places: Sequence[int], place: str) -> tuple[int, ...]:
    """Return the labels of an entry, each once, in ascending order."""
    if not isinstance(entry, list):
        raise UserError(f"{place}: labels must be a list of classes, got {_cut(entry)}")
    labels = set()
    for value in entry:
        try:
            if isinstance(value, str):
                labels.add(known.find(value))
            elif type(value) is int and 0 <= value < len(places):
                labels.add(places[value])
            else:
                last = len(places) - 1
                raise ValueError(f"is not a class of the weights; they are numbered 0 to {last}")
        except ValueError as error:
            raise UserError(f"{place}: label {_cut(value)} {error}") from error
    return tuple(sorted(labels))


def _cut(value: Any) -> str:
    return printable(str(value)[:LONGEST_SHOWN])
