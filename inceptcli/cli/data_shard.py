"""`inceptcli data shard`: convert class folders to WebDataset tar shards."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Exit, Option, echo

from inceptcli.cli.interruption import noted
from inceptcli.cli.outputs import say_written
from inceptcli.errors import UsageError
from inceptcli.progress.display import Display
from inceptcli.text import number_of, printable

if TYPE_CHECKING:
    from inceptcli.data.shards.making import Sharded

logger = logging.getLogger(__name__)

EPILOG = """Examples:

\b
  inceptcli data shard flowers --output shards
  inceptcli data shard imagenet/val --output shards/val-%06d.tar --size 1G
"""

BYTES_IN = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def data_shard(
    folder: Annotated[
        Path,
        Argument(
            metavar="DIR", help="Folder of class folders, or one with train/, val/ and test/."
        ),
    ],
    output: Annotated[
        str,
        Option(
            metavar="PATTERN",
            help="Output folder for train-000000.tar, val-000000.tar, ...; or, for a single split, "
            "a pattern such as out/train-%06d.tar.",
        ),
    ],
    size: Annotated[
        str, Option(help="Maximum size of a shard in bytes, such as 800K, 500M or 2G.")
    ] = "500M",
    count: Annotated[
        int | None, Option(min=1, help="Maximum number of images per shard. Default: no limit.")
    ] = None,
    seed: Annotated[
        int, Option(min=0, help="Random seed for the order of training images in the shards.")
    ] = 0,
    workers: Annotated[
        int | None,
        Option(min=1, help="Number of worker processes. Default: all usable cores."),
    ] = None,
    skip_unreadable: Annotated[
        bool,
        Option(
            "--skip-unreadable",
            help="Exit with code 0 even if images were unreadable. Default: exit with 1.",
        ),
    ] = False,
    format: Annotated[Literal["table", "json"], Option(help="Output format.")] = "table",
    quiet: Annotated[bool, Option("--quiet", help="Show no progress. Default: off.")] = False,
) -> None:
    """Write class folders as WebDataset tar shards for --data of `train` and `eval`.

    A sample is the unchanged image file, named by its position in the folder (00000006.jpg), and
    its label in .cls; classes.json lists the classes. Each shard has an index, such as
    train-000000.tar.json, with the images' paths. With the indexes, training uses the same image
    order as from the folder, for any shard size, unless images were left out. Unreadable images are
    left out and listed. After a stop, the same command continues and keeps finished shards.

    JSON has classes (their number), images, shards (path, images, bytes, sha256) and left_out
    (path, reason).
    """
    from inceptcli.data.shards.making import shard_folder

    limits = _bytes(size), count, seed, workers
    with (
        noted(lambda: "finished shards are kept; the same command continues"),
        Display(quiet).task("shard") as task,
    ):
        made = shard_folder(folder, output, *limits, task.reach)
    for entry in made.left_out:
        logger.info(f"left out {entry.path}: {entry.reason}")
    shards = number_of(len(made.shards), "shard")
    images = number_of(sum(shard.images for shard in made.shards), "image")
    if not quiet:
        say_written(output, shards, images)
    echo(json.dumps(_as_json(made), indent=2) if format == "json" else _as_table(made))
    if made.left_out and not skip_unreadable:
        raise Exit(1)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,12})([KMG]?)", text)
    if not found or not int(found[1]):
        raise UsageError(f"--size {text}: must be bytes such as 800K, 500M or 2G")
    return int(found[1]) * BYTES_IN[found[2]]


def _as_json(made: Sharded) -> dict[str, Any]:
    return {
        "classes": len(made.classes),
        "images": sum(shard.images for shard in made.shards),
        "shards": [
            {
                "path": str(shard.path),
                "images": shard.images,
                "bytes": shard.bytes,
                "sha256": shard.sha256,
            }
            for shard in made.shards
        ],
        "left_out": [entry._asdict() for entry in made.left_out],
    }


def _as_table(made: Sharded) -> str:
    lines = [f"{'images':>8}  {'bytes':>13}  shard"]
    lines += [
        f"{shard.images:>8}  {shard.bytes:>13,}  {printable(shard.path)}" for shard in made.shards
    ]
    images = number_of(sum(shard.images for shard in made.shards), "image")
    shards = number_of(len(made.shards), "shard")
    lines += ["", f"{images} of {len(made.classes)} classes in {shards}"]
    if made.left_out:
        lines[-1] += f", {len(made.left_out)} left out"
    return "\n".join(lines)
