"""`inceptcli data check`: read a dataset ahead of training and list what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Exit, Option, echo

from inceptcli.cli.outputs import print_fitted
from inceptcli.progress.display import Display
from inceptcli.text import printable

if TYPE_CHECKING:
    from inceptcli.data.check import Duplicates, Remark, Report

EPILOG = """Examples:

\b
  inceptcli data check flowers
  inceptcli data check flowers --format json > flowers.json
  inceptcli data check 'shards/*.tar'
"""


def data_check(
    data: Annotated[
        str,
        Argument(
            metavar="DIR|SHARDS",
            help="Folder of class folders, or one with train/, val/, test/; or tar shards as for "
            "`train --data`: their folder, or a pattern such as 'shards/*.tar'.",
        ),
    ],
    format: Annotated[
        Literal["table", "json"], Option(help="What to print: for people, or for programs.")
    ] = "table",
    workers: Annotated[
        int | None, Option(min=1, help="Processes that read; default: the cores that may be used.")
    ] = None,
    quiet: Annotated[bool, Option("--quiet", help="No progress; default: off.")] = False,
) -> None:
    """Read every image of a dataset and list what is wrong with it.

    The exit code is 1 when training would skip a file or refuse the folder (unreadable, images
    with the suffix of something else, empty classes, classes that train lacks), or when equal files
    are filed under two classes or in two splits. A suffix of another format, a format that fewer
    than one image in a hundred has, equal files within a class and what is left out are listed
    only. Of shards also unreadable are samples without a label and what a cut shard lost; a class
    of the list beside them that no training image has is empty.

    JSON has clean, images (those that can be read), classes (class, images by split), formats
    (images by format), width and height (min, median, max; pixels), unreadable (path, reason),
    overlooked, wrong_suffix and odd_format (path, format), duplicates (across: classes, splits,
    both or none; files: path, split, class), empty_classes and one_split_only (split, class),
    left_out (files: number by suffix, hidden or beside the class folders; folders: number by name).
    The splits are train, val and test, or all.
    """
    from inceptcli.data.check import check_dataset

    with Display(quiet).task("check", unit="files") as task:
        report = check_dataset(data, workers, task.reach)
    if format == "json":
        echo(json.dumps(_as_json(report), indent=2))
    else:
        print_fitted(_as_table(report))
    if not report.clean:
        raise Exit(1)


def _as_json(report: Report) -> dict[str, Any]:
    formats = ("overlooked", "wrong_suffix", "odd_format")
    return {
        "clean": report.clean,
        "images": report.images,
        "classes": [{"class": entry.name, "images": entry.images} for entry in report.classes],
        "formats": report.formats,
        "width": report.width and report.width._asdict(),
        "height": report.height and report.height._asdict(),
        "unreadable": [
            {"path": str(entry.path), "reason": entry.text} for entry in report.unreadable
        ],
        **{
            name: [
                {"path": str(entry.path), "format": entry.text} for entry in getattr(report, name)
            ]
            for name in formats
        },
        "duplicates": [
            {
                "across": group.across,
                "files": [
                    {"path": str(place.path), "split": place.split, "class": place.class_name}
                    for place in group.places
                ],
            }
            for group in report.duplicates
        ],
        "empty_classes": [_split_and_class(*entry) for entry in report.empty_classes],
        "one_split_only": [_split_and_class(*entry) for entry in report.one_split_only],
        "left_out": {"files": report.left_out.files, "folders": report.left_out.folders},
    }


def _split_and_class(split: str, name: str) -> dict[str, str]:
    return {"split": split, "class": name}


def _as_table(report: Report) -> str:
    lines = [*_overview(report), *_counts(report)]
    lines += _listed("cannot be read", report.unreadable)
    lines += _listed("images that training would not find, by their suffix", report.overlooked)
    lines += _listed("suffix of another format", report.wrong_suffix)
    lines += _listed("formats that hardly any other image has", report.odd_format)
    crossing = [_group(group) for group in report.duplicates if group.across]
    lines += ["", f"Equal files in two classes or splits: {len(crossing)}"] * bool(crossing)
    lines += crossing
    within = [_group(group) for group in report.duplicates if not group.across]
    lines += ["", f"Equal files within a class: {len(within)}"] * bool(within)
    lines += within
    lines += _folders("Classes without a readable image", report.empty_classes)
    lines += _folders("Classes in one split only", report.one_split_only)
    if report.left_out:
        lines += ["", f"{report.left_out}".capitalize()]
    lines += [
        "",
        "Nothing would be skipped, nothing is filed twice." if report.clean else "Not clean.",
    ]
    return "\n".join(lines)


def _group(group: Duplicates) -> str:
    names = ", ".join(printable(str(place.path)) for place in group.places)
    return f"  across {' and '.join(group.across)}: {names}" if group.across else f"  {names}"


def _overview(report: Report) -> list[str]:
    formats = ", ".join(f"{count} {name}" for name, count in report.formats.items())
    lines = [f"{report.images} images can be read" + (f": {formats}" if formats else "")]
    for side, spread in (("width", report.width), ("height", report.height)):
        if spread:
            lines.append(f"{side}: {spread.min} to {spread.max} pixels, median {spread.median}")
    return lines


def _counts(report: Report) -> list[str]:
    """A line per class, and how far apart the classes of each split are."""
    lines = ["", "  ".join(f"{split:>8}" for split in report.splits) + "  class"]
    for entry in report.classes:
        counts = (str(entry.images.get(split, "-")) for split in report.splits)
        lines.append("  ".join(f"{count:>8}" for count in counts) + f"  {printable(entry.name)}")
    ratios = []
    for split in report.splits:
        found = [entry.images[split] for entry in report.classes if entry.images.get(split)]
        ratios.append(f"{max(found) / min(found):.1f}x" if found else "-")
    lines.append("  ".join(f"{ratio:>8}" for ratio in ratios) + "  largest to smallest class")
    return lines


def _listed(title: str, entries: Iterable[Remark]) -> list[str]:
    lines = [f"  {printable(str(entry.path))}: {printable(entry.text)}" for entry in entries]
    return ["", f"{title[0].upper()}{title[1:]}: {len(lines)}", *lines] if lines else []


def _folders(title: str, entries: list[tuple[str, str]]) -> list[str]:
    lines = [f"  {printable(name)} ({split})" for split, name in entries]
    return ["", f"{title}: {len(lines)}", *lines] if lines else []
