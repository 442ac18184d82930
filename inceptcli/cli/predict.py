"""`inceptcli predict`: predict the classes of images."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, cast

from typer import Argument, Exit, Option

from inceptcli.cli.completion import complete_weights
from inceptcli.cli.interruption import noted
from inceptcli.cli.options import (
    BatchSize,
    Compile,
    Coverage,
    CropsFlag,
    Device,
    Devices,
    FastDecode,
    OtherAntialias,
    OtherCropFraction,
    OtherImageSize,
    OtherInterpolation,
    OtherResize,
    PrecisionFlag,
    Quiet,
    antialias_of,
    checked_devices,
    image_size_of,
)
from inceptcli.cli.outputs import (
    FORMATS,
    STANDARD_INPUT,
    SUFFIXES_IN_WORDS,
    OutputFiles,
    check_installed,
    check_no_terminal,
    check_suffix,
    format_of,
    reported,
    results_stream,
    say_written,
    what_stays,
    writing,
)
from inceptcli.errors import UsageError, UserError
from inceptcli.progress.display import Display, doing
from inceptcli.text import number_of

if TYPE_CHECKING:
    from inceptcli.data.left_out import LeftOut
    from inceptcli.data.pixels.decode import UnreadableImage
    from inceptcli.prediction.engines.engine import EmbeddingEngine
    from inceptcli.prediction.engines.torch_engine import TorchEngine
    from inceptcli.prediction.ensemble import Ensemble, EnsembleFiles, EnsembleRequest
    from inceptcli.prediction.inputs import Source
    from inceptcli.prediction.predict import Answer, Keep, Seen
    from inceptcli.prediction.recorded_options import RecordedOptions
    from inceptcli.prediction.shares.share import Share
    from inceptcli.weights.metadata import ClassName

    Write = Callable[[Iterable[Answer]], None]

logger = logging.getLogger(__name__)

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
  inceptcli predict photos/ --weights runs/pets --coverage 0.95 --format jsonl
"""


def predict(
    paths: Annotated[
        list[str] | None,
        Argument(
            metavar="PATHS",
            show_default=False,
            help="Image files, folders (searched recursively), WebDataset shards (.tar, or a "
            'folder of them), patterns such as "photos/*.jpg", addresses (https://, s3://, '
            "gs://, hf://), or - to read paths or addresses from standard input, one per line.",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        Option(
            metavar="NAME|FILE|RUN",
            show_default="imagenet",
            autocompletion=complete_weights,
            help="Weights: published (imagenet or ens-adv for irv2-tf, iv4-tf:imagenet; downloaded "
            "once), hf-hub:owner/name[@revision], a weights file or a run directory. Write "
            "./imagenet for a path named like published weights. Repeat for an ensemble, which "
            "averages the probabilities.",
        ),
    ] = None,
    crops: CropsFlag = 1,
    top_k: Annotated[
        int,
        Option(
            min=1,
            help="Number of classes per image, most probable first. Multi-label weights add all "
            "classes that reach their thresholds.",
        ),
    ] = 5,
    coverage: Coverage = None,
    threshold: Annotated[
        float | None,
        Option(
            min=0,
            max=1,
            show_default="the weights' own",
            help="Threshold of all classes, for weights with sigmoid outputs.",
        ),
    ] = None,
    output_format: Annotated[
        Literal["table", "json", "jsonl", "csv", "tsv", "parquet"] | None,
        Option(
            "--format",
            show_default="by the extension of --output, else table; with --shard, jsonl",
            help="Output format. Parquet needs inceptcli[parquet].",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            show_default="standard output",
            help=f"Output file: {SUFFIXES_IN_WORDS}. It appears when all rows are written. With "
            "--shard, a folder that all shares write to.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        Option(
            metavar="I/N|auto",
            show_default="all images",
            help="Predict only share I of N (I = 0 ... N-1): every N-th image, starting with image "
            "I. Repeat the command to continue after a stop; join the parts with `inceptcli "
            "merge`. auto: read I and N from the SLURM array or from srun.",
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Also write an HTML page with thumbnails and predictions of the first 5000 "
            "images.",
        ),
    ] = None,
    batch_size: BatchSize = None,
    device: Device = "auto",
    devices: Devices = "1",
    precision: PrecisionFlag = "32-true",
    fast_decode: FastDecode = False,
    image_size: OtherImageSize = None,
    crop_fraction: OtherCropFraction = None,
    interpolation: OtherInterpolation = None,
    resize: OtherResize = None,
    antialias: OtherAntialias = None,
    compile_networks: Compile = False,
    explain: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            show_default=False,
            help="New folder for Grad-CAM heat maps, one overlay per image, and explanations.csv "
            "with the evidence in pixel coordinates. Requires one network, one crop and "
            "inceptcli[explain].",
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        Option(
            "--class",
            metavar="NAME|ID|INDEX",
            show_default="the most probable class",
            help="Class to explain with --explain.",
        ),
    ] = None,
    embeddings: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            show_default=False,
            help="Write penultimate features, one float32 row per image in input order: .npy, with "
            "the paths in FILE.csv, or .parquet (needs inceptcli[parquet]). Requires one network "
            "and one crop.",
        ),
    ] = None,
    null: Annotated[
        bool, Option("--null", "-0", help="Read NUL-separated paths from standard input.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    r"""Predict the classes of images, with probabilities.

    Predictions are written in input order as soon as they are ready. An image that cannot be read
    is reported on standard error and in the results; all other images are predicted, and the exit
    code is 1. Files other than images in folders and tar files are counted by extension on
    standard error.

    Ctrl-C exits with 130 and reports how many images are done. Their rows on standard output or in
    a share are kept; other files are unchanged.

    JSON and Parquet have for each image: path, predictions (class, index, probability) and error
    (null, or the reason). CSV has the columns path, rank, class, index, probability and error. For
    multi-label weights, JSON and Parquet also have labels, the predictions that reach their
    thresholds; CSV has is_label, and a table marks them with an asterisk. In CSV, text
    that begins with = + - @, a tab or a carriage return is prefixed with an apostrophe, so that no
    spreadsheet runs it as a formula. With --coverage, rows also have set (the names of its classes,
    most probable first; in CSV joined by semicolons, in an image's first row) and coverage_level.
    Rows have fast_decode: true only with --fast-decode, precision only if it is not 32-true, and
    image_size, crop_fraction, interpolation, resize and antialias only if they are not the weights'
    own. Bytes of a file name that are not UTF-8 appear as \udc80 to \udcff.

    Overlays of --explain show the network input (resized, cropped, gray). Colors go from dark blue
    (no evidence) to yellow (most evidence); a contour surrounds the hottest half. explanations.csv
    has for each image the class, its probability, the overlay's name, the center of the evidence
    and the bounding box of the hottest half, in pixels of the upright image.
    """
    if not paths:
        raise UsageError("no PATHS; give image files, folders, patterns, or - for standard input")
    if null and "-" not in paths:
        raise UsageError("--null is for paths from standard input; add - to PATHS")
    number_of_devices = checked_devices(devices)

    from inceptcli.prediction.ensemble import EnsembleRequest

    networks = EnsembleRequest(
        tuple(weights or ["imagenet"]),
        crops,
        device,
        number_of_devices,
        batch_size,
        precision,
        fast_decode,
        compile_networks,
        None if image_size is None else image_size_of(image_size),
        crop_fraction,
        interpolation,
        resize,
        antialias_of(antialias),
        threshold,
    )
    extras = Extras(gallery, explain, class_name, embeddings)
    request = Request(
        tuple(paths), networks, top_k, coverage, output_format, output, shard, extras, null
    )
    job = checked(request)
    left_out, sources = job.sources()
    complete = job.answer_share(sources) if job.part else job.answer_all(sources)
    if left_out:
        logger.warning(f"{left_out}")
    if not complete:
        raise Exit(1)


class Extras(NamedTuple):
    """Additional outputs: --gallery, --explain, --class and --embeddings."""

    gallery: Path | None = None
    explain: Path | None = None
    class_name: str | None = None
    embeddings: Path | None = None


@dataclass(frozen=True)
class Request:
    """A call of `predict`: images, networks and output files."""

    paths: tuple[str, ...]
    networks: EnsembleRequest
    top_k: int
    coverage: float | None
    format: str | None
    output: Path | None
    shard: str | None
    extras: Extras
    null: bool


class PartOutput(NamedTuple):
    """Output of one share: folder, format and the share of the images."""

    folder: Path
    format: Literal["jsonl", "parquet"]
    share: Share


def checked(request: Request) -> Job:
    """Check a request before heavy imports and before anything is written.

    Raises UsageError or UserError if the request cannot be carried out.
    """
    from inceptcli.prediction.sets import set_rule

    extras = request.extras
    part = None if request.shard is None else _part(request.shard, request)
    if part and (extras.explain or extras.embeddings or extras.gallery):
        raise UsageError("--explain, --embeddings and --gallery cannot be combined with --shard")
    check_suffix("--gallery", extras.gallery, ".html", ".htm")
    written = part.format if part else request.format or format_of(request.output) or "table"
    check_installed(written)
    outputs = OutputFiles(_part_files(part) if part else _outputs(request))
    found = request.networks.find()
    paths = request.paths
    outputs.check([*paths, *found.files, *[STANDARD_INPUT] * ("-" in paths)])
    _check_extras(request, found)
    named = _named_classes(request, found)
    calibrations = [member.calibration for member in found.metadata]
    set_rule(request.coverage, found.request, calibrations, found.metadata[0].outputs)
    return Job(request, part, written, outputs, found, named)


class Job(NamedTuple):
    """A checked request and the paths of its weights files."""

    request: Request
    part: PartOutput | None
    format: str
    outputs: OutputFiles
    found: EnsembleFiles
    top_k: int

    @property
    def recorded(self) -> RecordedOptions:
        """The options that change answers."""
        return replace(self.found.request.recorded, coverage_level=self.request.coverage)

    def sources(self) -> tuple[LeftOut, Iterator[Source]]:
        """Return the images, found lazily, and a count of other files in the same folders."""
        from inceptcli.data.left_out import LeftOut
        from inceptcli.prediction.inputs import find_sources, standard_input

        left_out, null = LeftOut(), self.request.null
        found = find_sources(self.request.paths, standard_input(), left_out, null=null)
        explain = self.request.extras.explain
        return left_out, found if explain is None else _outside(explain, found)

    def answer_all(self, sources: Iterator[Source]) -> bool:
        """Write all answers to standard output or --output; return whether all were readable."""
        from inceptcli.prediction.outputs.writers import WRITERS

        output = self.request.output
        recorded = self.recorded
        with (
            noted(lambda: "" if output else what_stays(self.format)),
            results_stream(output) as stream,
            _gallery(self.request.extras.gallery, self.found.request) as keep,
        ):
            check_no_terminal(self.format, stream)
            display = Display(quiet=stream.isatty())
            write = WRITERS[self.format]
            images, unreadable = self._answer(
                self.outputs.watch(sources),
                lambda answers: write(answers, stream, recorded),
                display,
                keep,
            )
        self._say_written(images, unreadable)
        return not unreadable

    def _say_written(self, images: int, unreadable: int) -> None:
        from inceptcli.prediction.outputs.embeddings import paths_file

        extras = self.request.extras
        read = number_of(images - unreadable, "image")
        say_written(self.request.output, number_of(images, "image"))
        say_written(extras.gallery)
        say_written(extras.explain, number_of(images, "image"))
        say_written(extras.embeddings, read)
        if extras.embeddings is not None and extras.embeddings.suffix == ".npy":
            say_written(paths_file(extras.embeddings), read)

    def answer_share(self, sources: Iterator[Source]) -> bool:
        """Write the missing answers of the part; return whether all its images were readable.

        Raises UsageError if the part belongs to another job, UserError if writing fails.
        """
        from inceptcli.files.regular_file import sha256_of
        from inceptcli.prediction.shares.part import open_part
        from inceptcli.prediction.shares.part_record import PartRecord

        assert self.part is not None
        networks = self.found.request
        record = PartRecord(
            share=self.part.share,
            format=self.part.format,
            weights=tuple(map(sha256_of, self.found.files)),
            crops=networks.crops,
            top_k=self.top_k,
            recorded=self.recorded,
        )
        folder = self.part.folder
        with writing(f"--output {folder}"), open_part(folder, record) as part:
            before = part.rows
            if part.rows:
                logger.info(f"{folder}: {number_of(part.rows, 'row')} already written")
            with noted(lambda: f"{folder} keeps its rows; the same command continues"):
                missing = self.outputs.watch(part.missing(sources))
                for first in missing:  # load nothing heavy if no image is missing
                    self._answer(chain([first], missing), part.write, Display())
                part.finish()
                if part.rows > before:
                    say_written(folder, number_of(part.rows, "row"))
            return not part.unreadable

    def _answer(
        self, sources: Iterable[Source], write: Write, display: Display, keep: Sequence[Keep] = ()
    ) -> tuple[int, int]:
        """Write answers; return the number of images and how many of them have an error."""
        from inceptcli.prediction.inputs import is_image_file
        from inceptcli.prediction.predict import predict as answers_of
        from inceptcli.prediction.sets import set_rule

        paths, failed = self.request.paths, list[str]()
        few = self.part is None and all(map(is_image_file, paths))
        explain, embeddings = self.request.extras.explain, self.request.extras.embeddings
        ensemble = self.found.load(len(paths) if few else None, gradients=explain is not None)
        calibrations = [engine.calibration for engine in ensemble.engines]
        rule = set_rule(self.request.coverage, self.found.request, calibrations)
        if not display.quiet and sys.stderr.isatty() and "-" not in paths:
            with doing("looking through the images"):
                sources = list(sources)  # the progress bar needs the total
        total = len(sources) if isinstance(sources, list) else None
        with (
            display.task("predict", total) as task,
            ExitStack() as stack,
        ):
            answers = answers_of(
                sources,
                ensemble,
                top_k=self.top_k,
                embed=embeddings is not None,
                fast_decode=self.found.request.fast_decode,
                keep=[*keep, *self._kept(ensemble, stack)],
                rule=rule,
            )
            stack.callback(answers.close)
            write(reported(answers, failed, task.advance))
        return int(task.done), len(failed)

    def _kept(self, ensemble: Ensemble, stack: ExitStack) -> list[Keep]:
        """Return functions that write the extras; files are replaced when `stack` closes."""
        extras, recorded = self.request.extras, self.found.request.recorded
        kept: list[Keep] = []
        if extras.explain is not None:
            flag = f"--explain {extras.explain}"
            block = _explanations(extras, ensemble, recorded)
            kept.append(stack.enter_context(_reporting(flag, block)))
        if extras.embeddings is not None:
            from inceptcli.prediction.outputs.embeddings import embeddings

            (engine,) = cast("Sequence[EmbeddingEngine]", ensemble.engines)
            block = embeddings(extras.embeddings, engine.embedding_width, recorded)
            flag = f"--embeddings {extras.embeddings}"
            kept.append(stack.enter_context(_reporting(flag, block)))
        return kept


def _outside(folder: Path, sources: Iterator[Source]) -> Iterator[Source]:
    """Leave out the overlays that this command writes while it searches for images."""
    own = os.path.realpath(folder)
    real = lru_cache(os.path.realpath)
    for source in sources:
        within, _ = os.path.split(source.path)
        is_file = not (source.problem or source.in_tar or source.address)
        if not (is_file and Path(source.path).is_file() and real(within or ".") == own):
            yield source


def _part(shard: str, request: Request) -> PartOutput:
    """Return the part for --shard, --format and --output; raise UsageError on a conflict."""
    from inceptcli.prediction.shares.share import Share

    share, output = Share.of(shard), request.output
    if output is None:
        raise UsageError("--shard needs --output FOLDER")
    if request.format not in (None, "jsonl", "parquet"):
        raise UsageError(f"--shard needs --format jsonl or parquet, got {request.format}")
    if output.suffix.lower() in (*FORMATS, ".gz"):
        raise UsageError(
            f"--output {output}: must be a folder with --shard; omit the extension, and give "
            "--format parquet for Parquet files"
        )
    folder = output / f"part-{share.number:05}-of-{share.num_shards:05}"
    return PartOutput(folder, cast(Literal["jsonl", "parquet"], request.format or "jsonl"), share)


def _part_files(part: PartOutput) -> dict[str, Path | None]:
    """Return the files with fixed names in a part, by their description in messages."""
    from inceptcli.prediction.shares.part import LOCK_NAME
    from inceptcli.prediction.shares.part_record import RECORD_NAME

    names = {"the record of --output": RECORD_NAME, "the lock of --output": LOCK_NAME}
    return {words: part.folder / name for words, name in names.items()}


def _outputs(request: Request) -> dict[str, Path | None]:
    from inceptcli.prediction.outputs.embeddings import paths_file

    embeddings = request.extras.embeddings
    has_paths = embeddings is not None and embeddings.suffix == ".npy"
    return {
        "--output": request.output,
        "--gallery": request.extras.gallery,
        "--embeddings": embeddings,
        "the paths of --embeddings": paths_file(embeddings) if embeddings and has_paths else None,
    }


def _check_extras(request: Request, found: EnsembleFiles) -> None:
    """Raise UsageError or UserError for extras that these networks do not support."""
    from inceptcli.weights.onnx_file import is_onnx

    networks, (_, explain, class_name, embeddings) = request.networks, request.extras
    if class_name is not None and explain is None:
        raise UsageError("--class needs --explain DIR")
    if explain is not None and networks.fast_decode:
        raise UsageError("--explain needs images at full size; omit --fast-decode")
    if explain is not None and networks.precision != "32-true":
        raise UsageError("--explain computes gradients in 32-true; omit --precision")
    for flag, path in (("--explain", explain), ("--embeddings", embeddings)):
        if path is None:
            continue
        if len(found.files) > 1 or networks.crops > 1:
            raise UsageError(f"{flag} needs one network and one crop (--crops 1)")
        if networks.compile:
            raise UsageError(f"{flag} reads inner activations; omit --compile")
        if is_onnx(found.files[0]) and flag == "--explain":
            raise UsageError(
                f"{flag}: {found.files[0]} is an ONNX file, which has no gradients; give the "
                "weights it was exported from"
            )
    if explain is not None:
        _check_explain(explain)
        _find_class(class_name, found.metadata[0].classes)
    if embeddings is not None:
        _check_embeddings(embeddings)


def _check_explain(folder: Path) -> None:
    if find_spec("captum") is None:
        raise UserError("--explain needs captum; pip install 'inceptcli[explain]'")
    try:
        if any(folder.iterdir()):
            raise UsageError(f"--explain {folder}: not empty; name a new folder")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"--explain {folder}: {error.strerror}") from error


def _check_embeddings(file: Path) -> None:
    from inceptcli.prediction.outputs.embeddings import SUFFIXES
    from inceptcli.prediction.outputs.parquet import check_pyarrow

    if file.suffix not in SUFFIXES:
        raise UsageError(f"--embeddings {file}: must end in {' or '.join(SUFFIXES)}")
    if file.suffix == ".parquet":
        check_pyarrow(f"--embeddings {file}")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"--embeddings {file}: no such folder to write into")


def _named_classes(request: Request, found: EnsembleFiles) -> int:
    """Return the number of classes per image; 0 for networks without a classifier.

    Raises UsageError if such a network is used for anything but embeddings.
    """
    if found.headless is None:
        return request.top_k
    extras = request.extras
    no_answers = f"{found.headless}: has no trained classifier and names no classes"
    for flag, value in (("--explain", extras.explain), ("--gallery", extras.gallery)):
        if value is not None:
            raise UsageError(f"{flag}: {no_answers}; use --embeddings FILE")
    if extras.embeddings is None:
        raise UsageError(f"{no_answers}; use --embeddings FILE")
    logger.info(f"{no_answers}: writing embeddings only")
    return 0


def _find_class(name: str | None, classes: Sequence[ClassName]) -> int | None:
    from inceptcli.data.label_files import Labels

    if name is None:
        return None
    ids, names = [entry.id for entry in classes], [entry.name for entry in classes]
    try:
        return Labels(ids, names, ids).find(name)
    except ValueError as error:
        raise UsageError(f"--class {name} {error}") from error


def _explanations(
    extras: Extras, ensemble: Ensemble, recorded: RecordedOptions
) -> AbstractContextManager[Keep]:
    from inceptcli.prediction.heat_maps import HeatMaps
    from inceptcli.prediction.outputs.explanations import explanations

    assert extras.explain is not None
    index = _find_class(extras.class_name, ensemble.classes)
    (engine,) = cast("Sequence[TorchEngine]", ensemble.engines)
    return explanations(extras.explain, HeatMaps(engine), ensemble.classes, index, recorded)


@contextmanager
def _gallery(page: Path | None, networks: EnsembleRequest) -> Iterator[Sequence[Keep]]:
    """Record answers for the gallery, if there is one; write it on exit."""
    if page is None:
        yield ()
        return
    from inceptcli.prediction.outputs.gallery import Gallery

    with results_stream(page, "--gallery") as stream, Gallery() as gallery:
        yield (gallery.keep,)
        gallery.write(stream, networks.weights, networks.crops, networks.recorded)


@contextmanager
def _reporting(flag: str, block: AbstractContextManager[Keep]) -> Iterator[Keep]:
    """Enter `block` and name the flag in its write errors."""
    with ExitStack() as stack:
        try:
            keep = stack.enter_context(block)
        except OSError as error:  # before anything is computed
            raise UsageError(f"{flag}: {error.strerror or error}") from error

        def named(source: Source, found: Seen | UnreadableImage, answer: Answer) -> None:
            with writing(flag):
                keep(source, found, answer)

        yield named
        with writing(flag):
            stack.close()
