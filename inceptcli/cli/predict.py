"""`inceptcli predict`: what is in these pictures?"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

from typer import Argument, Exit, Option, echo

from inceptcli.cli.names import complete_weights
from inceptcli.cli.predict_extras import Extras
from inceptcli.errors import UsageError, UserError
from inceptcli.progress.display import Display
from inceptcli.text import printable

if TYPE_CHECKING:
    from inceptcli.prediction.inputs import ByteStream, Source
    from inceptcli.prediction.predict import Answer

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
"""


def predict(
    paths: Annotated[
        list[str] | None,
        Argument(
            metavar="PATHS",
            show_default=False,
            help="Image files, folders (all images in them and below), patterns such as "
            '"photos/*.jpg", or - to read file paths from standard input, one per line.',
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        Option(
            metavar="NAME|FILE|RUN",
            show_default="imagenet",
            autocompletion=complete_weights,
            help="Published weights (imagenet or ens-adv of irv2-tf, iv4-tf:imagenet), fetched "
            "once; or a weights file, or a run directory. A path named like them: ./imagenet. "
            "Given several times: an ensemble, whose probabilities are averaged.",
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
        Literal["table", "json", "jsonl", "csv"],
        Option("--format", help="How to write: for people, or for programs in UTF-8."),
    ] = "table",
    output: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            show_default="standard output",
            help="File to write to; it appears when all is done.",
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="HTML page to write, too: the first 5000 images, small, with their answers.",
        ),
    ] = None,
    batch_size: Annotated[
        int,
        Option(min=1, help="Number of crops at once; an accelerator computes them together."),
    ] = 16,
    device: Annotated[
        str,
        Option(
            metavar="auto|cpu|cuda|cuda:N|mps",
            help="Where to compute; auto takes an accelerator when there is one.",
        ),
    ] = "auto",
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
    read is named on standard error and in the results, the rest is done, and the exit code is 1.

    JSON has for each image: path, predictions (class, index, probability) and error (null, or
    the reason). CSV has the columns path, rank, class, index, probability and error; a text that
    begins with = + - @, a tab or a carriage return gets an apostrophe in front, so that no
    spreadsheet runs it. Bytes of a file name that are not UTF-8 appear as \udc80 to \udcff.

    --explain draws on the picture as the network saw it, resized and cropped, in grey: dark blue
    is no evidence, yellow the most, and a line goes round the hottest half. explanations.csv has
    for each image the class and its probability, the overlay's name, the centre of the evidence
    and the box of its hottest half, in pixels of the upright image.
    """
    if not paths:
        raise UsageError("no PATHS; give image files, folders, patterns, or - for standard input")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device):
        raise UsageError(f"--device must be auto, cpu, cuda, cuda:N or mps, got {device}")

    from inceptcli.prediction.inputs import find_sources
    from inceptcli.weights.file import read_metadata
    from inceptcli.weights.published import find

    say = None if quiet else Display().say
    names = weights or ["imagenet"]
    files = [find(name, say) for name in names]
    metadata = [read_metadata(file) for file in files]  # before torch is imported

    from inceptcli.prediction.ensemble import Ensemble, check_ensemble

    check_ensemble(list(zip(names, metadata, strict=True)), crops)
    extras = Extras(explain, class_name, embeddings)
    extras.check(files, crops, output)
    with results_stream(output) as stream, gallery_writer(gallery, names, crops) as collect:
        from inceptcli.prediction.predict import predict as answer
        from inceptcli.prediction.writers import WRITERS

        few_images = len(paths) <= 4 and all(Path(path).is_file() for path in paths)
        ensemble = Ensemble.load(files, device, crops, few_images=few_images)
        sources: Iterable[Source] = find_sources(paths, standard_input(), null=null)
        shown = not quiet and not stream.isatty()
        if shown and sys.stderr.isatty() and "-" not in paths:
            sources = list(sources)  # so that the progress bar knows how many
        answers = answer(
            sources, ensemble, top_k=top_k, batch_size=batch_size, embed=embeddings is not None
        )
        failed: list[str] = []
        total = len(sources) if isinstance(sources, list) else None
        with progress(shown, total) as advance, closing(extras.kept(answers, ensemble)) as kept:
            WRITERS[output_format](reported(collect(kept), failed, advance), stream)
    if failed:
        raise Exit(1)


def reported(
    answers: Iterable[Answer], failed: list[str], advance: Callable[[], None]
) -> Iterator[Answer]:
    """The same answers; each that has an error is named on standard error and added to `failed`."""
    for answer in answers:
        if answer.error is not None:
            failed.append(answer.path)
            echo(f"Error: {printable(answer.path)}: {printable(answer.error)}", err=True)
        yield answer
        advance()


@contextmanager
def gallery_writer(
    page: Path | None, weights: Sequence[str], crops: int
) -> Iterator[Callable[[Iterable[Answer]], Iterable[Answer]]]:
    """What hands answers on and keeps them for the page, if any, which the block's end writes."""
    if page is None:
        yield lambda answers: answers
        return
    from inceptcli.prediction.gallery import Gallery

    gallery = Gallery()
    with results_stream(page, "--gallery") as stream:
        yield gallery.collect
        gallery.write(stream, weights, crops)


def standard_input() -> ByteStream:
    """Standard input below its buffer: a thread may wait here while the program ends."""
    if sys.stdin is None:  # it was closed before the program began
        return BytesIO()
    buffered = sys.stdin.buffer
    return getattr(buffered, "raw", buffered)


@contextmanager
def results_stream(output: Path | None, flag: str = "--output") -> Iterator[TextIO]:
    """Standard output, or a file that takes the place of `output` when the block ends; UTF-8.

    Raises UsageError when there can be no such file, UserError when writing fails, and Exit with
    the code of a program that a closed pipe ended when nobody reads on.
    """
    if output is None:
        stream = sys.stdout
        assert isinstance(stream, TextIOWrapper)
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")
        with writing("standard output"):
            yield stream
            stream.flush()
        return
    from inceptcli.atomic_file import replacing

    if output.exists() and not output.is_file():
        raise UsageError(f"{flag} {output}: not a regular file")
    with writing(f"{flag} {output}"), ExitStack() as stack:
        try:
            temporary = stack.enter_context(replacing(output))
            file = temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        except OSError as error:
            raise UsageError(f"{flag} {output}: {error.strerror}") from error
        yield stack.enter_context(file)


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Turns what goes wrong with writing to `place` into how the program ends."""
    try:
        yield
    except BrokenPipeError:
        raise Exit(128 + signal.SIGPIPE) from None
    except OSError as error:
        raise UserError(f"{place}: {error.strerror or error}") from error


@contextmanager
def progress(shown: bool, total: int | None) -> Iterator[Callable[[], None]]:
    """How far it is on standard error, if `shown`; yields what counts one image as done."""
    with Display(quiet=not shown).task("predict", total) as task:
        yield task.advance
