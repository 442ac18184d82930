"""Read and write `skipped.csv`, the list of a run's unreadable images. No torch."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from inceptcli.data.identity import PARTS, ImageNumber
from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.files.atomic_file import replacing
from inceptcli.files.no_follow import open_no_follow
from inceptcli.text import defused, printable
from inceptcli.training.csv_rows import number_in, rows_in

if TYPE_CHECKING:
    from inceptcli.training.plan import Plan
    from inceptcli.training.run_directory import RunDirectory

logger = logging.getLogger(__name__)

COLUMNS = ("path", "reason", "part", "number")


def read_skipped(path: Path) -> dict[ImageNumber, str]:
    """Return the images listed in a skipped.csv with their reasons; ignore incomplete lines."""
    return {
        (row["part"], number): row.get("reason", "")
        for row in rows_in(path)
        if row.get("part") in PARTS and (number := number_in(row, "number")) is not None
    }


def add_skipped(path: Path, name: str, number: ImageNumber, reason: str) -> None:
    """Append one image."""
    with open_no_follow(path, "a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        writer.writerow((defused(printable(name)), defused(reason), *number))


def forget_repaired(plan: Plan, directory: RunDirectory) -> None:
    """Remove images that are readable now from `skipped.csv`; update the paths of the others."""
    listed = directory.skipped()
    if not directory.writes or not listed:
        return
    left = {number: reason for number, reason in listed.items() if not _can_be_read(plan, number)}
    _write(directory.path / "skipped.csv", plan, left)
    if repaired := len(listed) - len(left):
        images = "1 image" if repaired == 1 else f"{repaired} images"
        logger.info(f"{images} of skipped.csv can be read now and will not be counted")


def _can_be_read(plan: Plan, number: ImageNumber) -> bool:
    part, place = number
    if place >= len(plan.part(part)):  # listed for other data
        return True
    try:
        plan.part(part).image(place)
    except UnreadableImage:
        return False
    return True


def _write(path: Path, plan: Plan, listed: Mapping[ImageNumber, str]) -> None:
    with replacing(path) as temporary:
        for number, reason in listed.items():
            add_skipped(temporary, plan.part(number[0]).name(number[1]), number, reason)
