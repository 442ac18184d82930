"""`inceptcli predict --shard`: answers to a share of the images, in a part that can go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from inceptcli.cli.interruption import noted
from inceptcli.cli.outputs import format_of, writing
from inceptcli.errors import UsageError
from inceptcli.progress.display import Display

if TYPE_CHECKING:
    from inceptcli.prediction.inputs import Source
    from inceptcli.prediction.predict import Answer
    from inceptcli.prediction.shares.share import Share
    from inceptcli.prediction.shortcuts import Shortcuts

Write = Callable[[Iterable["Answer"]], None]


class PartOutput(NamedTuple):
    """Where a part goes, and which it is."""

    path: Path
    format: Literal["jsonl", "parquet"]
    shard: Share


def place_of(shard: str, output_format: str | None, output: Path | None) -> PartOutput:
    """What --shard, --format and --output mean together; UsageError when they mean nothing."""
    from inceptcli.prediction.shares.share import Share

    share = Share.of(shard)
    if output is None:
        raise UsageError("--shard needs --output, a file or a folder for the part")
    if output_format not in (None, "jsonl", "parquet"):
        raise UsageError(f"--shard needs --format jsonl or parquet, got {output_format}")
    chosen = output_format or ("jsonl" if output.is_dir() else format_of(output) or "jsonl")
    if chosen not in ("jsonl", "parquet") or output.suffix.lower() == ".gz":
        raise UsageError(f"--shard writes .jsonl or .parquet, not --output {output}")
    if output.is_dir() or (not output.suffix and not output.exists()):
        output /= f"part-{share.number:05}-of-{share.num_shards:05}.{chosen}"
    return PartOutput(output, cast(Literal["jsonl", "parquet"], chosen), share)


def part_files(place: PartOutput) -> dict[str, Path | None]:
    """What is written of a part, by what a message calls it."""
    from inceptcli.prediction.shares.part_record import record_path, rows_path

    files = {"--output": place.path, "the record of --output": record_path(place.path)}
    rows = rows_path(place.path, place.format)
    return {**files, **({} if rows == place.path else {"the rows of --output": rows})}


def predict_shard(
    place: PartOutput,
    job: tuple[Sequence[Path], int, int, Shortcuts],
    sources: Iterable[Source],
    answer: Callable[[Iterable[Source], Write], None],
    display: Display,
) -> bool:
    """Answer what the part at `place` lacks; whether each of its images could be read.

    Args:
        place: the part.
        job: weights files, crops, top_k, how it is computed.
        sources: the images of all shards.
        answer: gives the answers to some of them to a function that writes them.
        display: is told what an earlier start did.

    Raises UsageError when the part is another job's, UserError when writing fails.
    """
    from inceptcli.prediction.shares.part import open_part
    from inceptcli.prediction.shares.part_record import PartRecord, weights_digests

    weights, crops, top_k, shortcuts = job
    digests = weights_digests(weights)
    record = PartRecord(place.shard, place.format, digests, crops, top_k, *shortcuts)
    with writing(f"--output {place.path}"), open_part(place.path, record, display.say) as part:
        if part.rows:
            rows, bad = f"{part.rows:,} rows", f"{part.unreadable:,} of them without an answer"
            display.say(f"{place.path}: {rows} are there, {bad}")
        with noted(lambda: f"{place.path} keeps its rows, and the same command goes on"):
            missing = iter(part.missing(sources))
            for first in missing:  # nothing heavy is loaded when there is none
                answer(chain([first], missing), part.write)
            if not part.is_finished:
                part.finish()
        return not part.unreadable
