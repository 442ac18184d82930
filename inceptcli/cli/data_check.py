"""`inceptcli data check`: read a dataset before training and list its problems."""

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
            metavar="DIR|CSV|SHARDS",
            help="Dataset: a folder of class folders, or one with train/, val/ and test/; a CSV "
            "file of path,label or path,labels; or tar shards: a folder, or a pattern such as "
            "'shards/*.tar'.",
        ),
    ],
    format: Annotated[Literal["table", "json"], Option(help="Output format.")] = "table",
    workers: Annotated[
        int | None, Option(min=1, help="Number of reading processes. Default: all usable cores.")
    ] = None,
    quiet: Annotated[bool, Option("--quiet", help="Show no progress. Default: off.")] = False,
) -> None:
    """Read every image of a dataset and list problems.

    The exit code is 1 for problems that training would skip or refuse (unreadable images, images
    without an image file extension, empty classes, classes missing from train, a single class), and
    for duplicate images in two classes or splits. Extensions of another image format, formats of
    fewer than 1 % of the images, duplicate images within a class and ignored files are only listed.
    In shards, samples without a label and samples lost from a truncated shard are unreadable, and a
    listed class without training images is empty. In a CSV file, each listed file must be readable,
    whatever its extension; an empty field `labels` is a problem, a column of zeros is not.

    JSON has clean, images (number of readable ones), classes (class, images by split), formats
    (images by format), width and height (min, median, max; pixels), unreadable (path, reason),
    overlooked, wrong_suffix and odd_format (path, format), duplicates (across: classes, splits,
    both or none; files: path, split, class, or a;b for several), empty_classes and one_split_only
    (split, class), one_class, unlabeled (images that training refuses without a label), and
    left_out (files: number by extension, hidden or outside class folders; folders: number by name).
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
        "one_class": report.one_class,
        "unlabeled": report.unlabeled,
        "left_out": {"files": report.left_out.files, "folders": report.left_out.folders},
    }


def _split_and_class(split: str, name: str) -> dict[str, str]:
    return {"split": split, "class": name}


def _as_table(report: Report) -> str:
    lines = [*_overview(report), *_counts(report)]
    lines += _listed("cannot be read", report.unreadable)
    lines += _listed("images that training would miss, by file extension", report.overlooked)
    lines += _listed("wrong file extension", report.wrong_suffix)
    lines += _listed("rare formats", report.odd_format)
    crossing = [_group(group) for group in report.duplicates if group.across]
    lines += ["", f"Duplicate images across classes or splits: {len(crossing)}"] * bool(crossing)
    lines += crossing
    within = [_group(group) for group in report.duplicates if not group.across]
    lines += ["", f"Duplicate images within a class: {len(within)}"] * bool(within)
    lines += within
    lines += _folders("Classes without a readable image", report.empty_classes)
    lines += _folders("Classes in one split only", report.one_split_only)
    lines += ["", "Only one class: training needs two"] * report.one_class
    if report.unlabeled:
        refused = "training refuses them unless data.allow_unlabeled is true"
        lines += ["", f"Images without a label: {report.unlabeled}; {refused}"]
    if report.left_out:
        lines += ["", f"{report.left_out}".capitalize()]
    lines += [
        "",
        "No problems found." if report.clean else "Problems found.",
    ]
    return "\n".join(lines)


def _group(group: Duplicates) -> str:
    names = ", ".join(printable(place.path) for place in group.places)
    return f"  across {' and '.join(group.across)}: {names}" if group.across else f"  {names}"


def _overview(report: Report) -> list[str]:
    formats = ", ".join(f"{count} {name}" for name, count in report.formats.items())
    lines = [f"{report.images} images can be read" + (f": {formats}" if formats else "")]
    for side, spread in (("width", report.width), ("height", report.height)):
        if spread:
            lines.append(f"{side}: {spread.min} to {spread.max} pixels, median {spread.median}")
    return lines


def _counts(report: Report) -> list[str]:
    """Return a line per class, and the ratio of the largest to the smallest class per split."""
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
    lines = [f"  {printable(entry.path)}: {printable(entry.text)}" for entry in entries]
    return ["", f"{title[0].upper()}{title[1:]}: {len(lines)}", *lines] if lines else []


def _folders(title: str, entries: list[tuple[str, str]]) -> list[str]:
    lines = [f"  {printable(name)} ({split})" for split, name in entries]
    return ["", f"{title}: {len(lines)}", *lines] if lines else []
