"""`inceptcli predict`: what is in these pictures?"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Exit, Option

from inceptcli.cli.completion import complete_weights
from inceptcli.cli.interruption import noted
from inceptcli.cli.options import (
    BatchSize,
    Compile,
    Devices,
    FastDecode,
    PrecisionFlag,
    checked_devices,
    chosen_shortcuts,
    ensemble_files,
)
from inceptcli.cli.outputs import (
    STANDARD_INPUT,
    SUFFIXES_IN_WORDS,
    OutputFiles,
    check_installed,
    check_no_terminal,
    check_suffix,
    format_of,
    reported,
    results_stream,
    what_stays,
)
from inceptcli.cli.predict_extras import Extras, gallery_writer
from inceptcli.cli.predict_shard import PartOutput, Write, part_files, place_of, predict_shard
from inceptcli.errors import UsageError
from inceptcli.progress.display import Display

if TYPE_CHECKING:
    from inceptcli.data.left_out import LeftOut
    from inceptcli.prediction.inputs import Source

EPILOG = """\
Examples:

\b
  inceptcli predict cat.jpg
  inceptcli predict cat.jpg --weights runs/pets
  inceptcli predict cat.jpg --weights imagenet --weights iv4-tf:imagenet --crops 144
  inceptcli predict photos/ "more/*.png" --weights pets.safetensors --format csv --output pets.csv
  inceptcli predict photos/ --weights runs/pets --output answers.txt --gallery answers.html
  inceptcli predict photos --weights runs/pets --explain maps --embeddings photos.npy
  find photos -name "*.jpg" -print0 | inceptcli predict - -0 --weights runs/pets --format jsonl
  inceptcli predict photos/ --weights runs/pets --shard 0/4 --output answers/
"""


def predict(
    paths: Annotated[
        list[str] | None,
        Argument(
            metavar="PATHS",
            show_default=False,
            help="Image files, folders (all images in them and below), WebDataset shards (.tar, or "
            'a folder of them), patterns such as "photos/*.jpg", or - to read file paths from '
            "standard input, one per line.",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        Option(
            metavar="NAME|FILE|RUN",
            show_default="imagenet",
            autocompletion=complete_weights,
            help="Published weights (imagenet or ens-adv of irv2-tf, iv4-tf:imagenet), fetched "
            "once; or hf-hub:owner/name[@revision], a weights file or a run directory. A path "
            "named like them: ./imagenet. Given several times: an ensemble, whose probabilities "
            "are averaged.",
        ),
    ] = None,
    crops: Annotated[
        Literal[1, 10, 12, 144],
        Option(
            help="Crops of each image, whose probabilities are averaged: the weights' own; corners "
            "and centre, mirrored; of one scale the centre square's six, mirrored (our reading); "
            "GoogLeNet's 144."
        ),
    ] = 1,
    top_k: Annotated[
        int, Option(min=1, help="Number of classes to name for each image, most probable first.")
    ] = 5,
    output_format: Annotated[
        Literal["table", "json", "jsonl", "csv", "tsv", "parquet"] | None,
        Option(
            "--format",
            show_default="by the suffix of --output, else table; of a shard, jsonl",
            help="How to write: for people, or for programs in UTF-8; Parquet needs "
            "inceptcli[parquet].",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            show_default="standard output",
            help=f"File to write to, {SUFFIXES_IN_WORDS}; it appears when all is done. Of a shard "
            "it grows row by row, and may be a folder/ for all of them.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        Option(
            metavar="I/N|auto",
            show_default="all images",
            help="Take only every N-th image from number I on, I from 0; the same command goes on "
            "after a stop, and `inceptcli merge` joins the parts. auto: as the task of a SLURM "
            "array or of srun.",
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="HTML page to write, too: the first 5000 images, small, with their answers.",
        ),
    ] = None,
    batch_size: BatchSize = None,
    device: Annotated[
        str,
        Option(
            metavar="auto|cpu|cuda|cuda:N|mps",
            help="Where to compute; auto takes an accelerator when there is one.",
        ),
    ] = "auto",
    devices: Devices = "1",
    precision: PrecisionFlag = "32-true",
    fast_decode: FastDecode = False,
    compile_networks: Compile = False,
    explain: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            show_default=False,
            help="New folder for a picture of each image that shows where the answer comes from "
            "(Grad-CAM, drawn on what the network saw), and explanations.csv, which says it in "
            "pixels of the image. One network, one crop; needs inceptcli[explain].",
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        Option(
            "--class",
            metavar="NAME|ID|INDEX",
            show_default="the most probable one",
            help="Class that --explain explains.",
        ),
    ] = None,
    embeddings: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            show_default=False,
            help="File for what the classifier reads of each image, in order: .npy, with the paths "
            "in FILE.csv beside it, or .parquet (needs inceptcli[parquet]). One network, one crop.",
        ),
    ] = None,
    null: Annotated[
        bool, Option("--null", "-0", help="Paths on standard input end with NUL, not a line end.")
    ] = False,
    quiet: Annotated[
        bool, Option("--quiet", help="Show no progress; images that fail are still named.")
    ] = False,
) -> None:
    r"""Name what is in images, with probabilities.

    Answers come in the order of the images, as soon as they are ready. An image that cannot be
    read is named on standard error and in the results, the rest is done, and the exit code is 1. A
    line on standard error counts by suffix what folders and tar files hold besides images.
    Ctrl-C ends with 130 and a line that says how many images are done; their rows on standard
    output or in a shard stay, and other files are as they were.

    JSON and Parquet have for each image: path, predictions (class, index, probability) and error
    (null, or the reason). CSV has the columns path, rank, class, index, probability and error; a
    text that begins with = + - @, a tab or a carriage return gets an apostrophe in front, so that
    no spreadsheet runs it. With --fast-decode, and only then, each row has fast_decode, too, which
    is true, and with another --precision than 32-true precision. Bytes of a file name that are not
    UTF-8 appear as \udc80 to \udcff.

    --explain draws on the picture as the network saw it, resized and cropped, in grey: dark blue
    is no evidence, yellow the most, and a line goes round the hottest half. explanations.csv has
    for each image the class and its probability, the overlay's name, the centre of the evidence
    and the box of its hottest half, in pixels of the upright image.
    """
    if not paths:
        raise UsageError("no PATHS; give image files, folders, patterns, or - for standard input")
    number_of_devices = _check_device(device, devices)

    place = place_of(shard, output_format, output) if shard is not None else None
    if place and (explain or embeddings or gallery):
        raise UsageError("--explain, --embeddings and --gallery do not go with --shard")
    check_suffix("--gallery", gallery, ".html", ".htm")
    chosen = _installed(place.format if place else output_format or format_of(output) or "table")
    written = OutputFiles(_outputs(place, output, gallery, embeddings))
    names = weights or ["imagenet"]
    files, metadata = ensemble_files(names, crops, Display(quiet))
    written.check([*paths, *files, *[STANDARD_INPUT] * ("-" in paths)])
    extras = Extras(explain, class_name, embeddings)
    shortcuts = chosen_shortcuts(fast_decode, precision)
    extras.check(files, crops, output, shortcuts, compile_networks)
    top_k = extras.named_classes(
        top_k, [*zip(names, metadata, strict=True)], [("--gallery", gallery)], Display(quiet).say
    )

    from inceptcli.prediction.inputs import is_image_file
    from inceptcli.prediction.outputs.writers import WRITERS

    failed: list[str] = []

    def answer(sources: Iterable[Source], write: Write, shown: bool = not quiet) -> None:
        from inceptcli.prediction.ensemble import Ensemble
        from inceptcli.prediction.predict import predict as answers_of

        ensemble = Ensemble.load(
            files,
            device,
            crops,
            devices=number_of_devices,
            batch_size=batch_size,
            pictures=len(paths) if place is None and all(map(is_image_file, paths)) else None,
            compile_networks=compile_networks,
            precision=precision,
            gradients=explain is not None,
        )
        if shown and sys.stderr.isatty() and "-" not in paths:
            sources = list(sources)  # so that the progress bar knows how many
        answers = answers_of(
            sources,
            ensemble,
            top_k=top_k,
            batch_size=ensemble.batch_size,
            embed=embeddings is not None,
            fast_decode=fast_decode,
        )
        total = len(sources) if isinstance(sources, list) else None
        with (
            Display(quiet=not shown).task("predict", total) as task,
            closing(extras.kept(answers, ensemble, shortcuts)) as kept,
        ):
            write(reported(kept, failed, task.advance))

    left_out, sources = _sources(paths, null, written)
    if place is not None:
        complete = predict_shard(
            place, (files, crops, top_k, shortcuts), sources, answer, Display(quiet)
        )
    else:
        with (
            noted(lambda: "" if output else what_stays(chosen)),
            results_stream(output) as stream,
            gallery_writer(gallery, names, crops, shortcuts) as collect,
        ):
            check_no_terminal(chosen, stream)
            shown = not quiet and not stream.isatty()
            answer(sources, lambda found: WRITERS[chosen](collect(found), stream, shortcuts), shown)
        complete = not failed
    _end(left_out, complete)


def _sources(
    paths: Sequence[str], null: bool, written: OutputFiles
) -> tuple[LeftOut, Iterator[Source]]:
    """The images, found as they are needed, and the count of what is found besides."""
    from inceptcli.data.left_out import LeftOut
    from inceptcli.prediction.inputs import find_sources, standard_input

    left_out = LeftOut()
    return left_out, written.watch(find_sources(paths, standard_input(), left_out, null=null))


def _end(left_out: LeftOut, complete: bool) -> None:
    if left_out:
        Display().say(f"{left_out}")
    if not complete:
        raise Exit(1)


def _installed(output_format: str) -> str:
    check_installed(output_format)
    return output_format


def _outputs(
    place: PartOutput | None, output: Path | None, gallery: Path | None, embeddings: Path | None
) -> dict[str, Path | None]:
    if place is not None:
        return part_files(place)
    from inceptcli.prediction.outputs.embeddings import paths_file

    has_paths = embeddings is not None and embeddings.suffix == ".npy"
    return {
        "--output": output,
        "--gallery": gallery,
        "--embeddings": embeddings,
        "the paths of --embeddings": paths_file(embeddings) if embeddings and has_paths else None,
    }


def _check_device(device: str, devices: str) -> int | Literal["auto"]:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device):
        raise UsageError(f"--device must be auto, cpu, cuda, cuda:N or mps, got {device}")
    return checked_devices(devices)
