"""What `predict` keeps besides its answers: heat maps, embeddings and a gallery."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from inceptcli.cli.outputs import results_stream, writing
from inceptcli.errors import UsageError, UserError
from inceptcli.text import printable

if TYPE_CHECKING:
    from inceptcli.prediction.engines.engine import EmbeddingEngine
    from inceptcli.prediction.engines.torch_engine import TorchEngine
    from inceptcli.prediction.ensemble import Ensemble
    from inceptcli.prediction.predict import Answer
    from inceptcli.prediction.shortcuts import Shortcuts
    from inceptcli.weights.metadata import ClassName, WeightsMetadata

    Take = Callable[[Answer], None]


class Extras(NamedTuple):
    """The flags --explain, --class and --embeddings."""

    explain: Path | None
    class_name: str | None
    embeddings: Path | None

    def check(
        self,
        files: Sequence[Path],
        crops: int,
        output: Path | None,
        shortcuts: Shortcuts,
        compile_networks: bool,
    ) -> None:
        """UsageError or UserError for what cannot be had, before torch is imported."""
        from inceptcli.weights.file import read_metadata
        from inceptcli.weights.onnx_file import is_onnx

        if self.class_name is not None and self.explain is None:
            raise UsageError("--class says what --explain explains; give --explain DIR")
        if self.explain is not None and shortcuts.fast_decode:
            raise UsageError("--explain speaks of pixels of the image; leave out --fast-decode")
        if self.explain is not None and shortcuts.precision != "32-true":
            raise UsageError("--explain computes gradients in 32-true; leave out --precision")
        for flag, path in (("--explain", self.explain), ("--embeddings", self.embeddings)):
            if path is None:
                continue
            if len(files) > 1 or crops > 1:
                raise UsageError(f"{flag} is for one network and one crop, --crops 1")
            if compile_networks:
                raise UsageError(f"{flag} looks into the network; leave out --compile")
            if is_onnx(files[0]) and flag == "--explain":
                raise UsageError(
                    f"{flag}: {files[0]} is an ONNX file, which gives no gradients; give the "
                    "weights that it was exported from"
                )
        if self.explain is not None:
            _check_explain(self.explain)
            _find_class(self.class_name, read_metadata(files[0]).classes)
        if self.embeddings is not None:
            _check_embeddings(self.embeddings, output)

    def named_classes(
        self,
        top_k: int,
        members: Sequence[tuple[str, WeightsMetadata]],
        others: Sequence[tuple[str, object]],
        say: Callable[[str], None],
    ) -> int:
        """How many classes to name of each image: none of a network that has no classifier.

        UsageError where that is asked for more than embeddings, or not for them.
        """
        headless = [name for name, metadata in members if not metadata.has_classifier]
        if not headless:
            return top_k
        no_answers = f"{headless[0]}: has no trained classifier and names no classes"
        for flag, value in (("--explain", self.explain), *others):
            if value is not None:
                raise UsageError(f"{flag}: {no_answers}; it gives --embeddings FILE")
        if self.embeddings is None:
            raise UsageError(f"{no_answers}; give --embeddings FILE for what it gives")
        say(f"{no_answers}: embeddings only")
        return 0

    def kept(
        self, answers: Iterable[Answer], ensemble: Ensemble, shortcuts: Shortcuts
    ) -> Generator[Answer]:
        """The same answers; each has been drawn and written before it is passed on.

        What the networks saw goes no further: writers hold thousands of answers.
        """
        if self.explain is not None:
            answers = _keeping(answers, f"--explain {self.explain}", self._explanations(ensemble))
        if self.embeddings is not None:
            from inceptcli.prediction.outputs.embeddings import embeddings

            (engine,) = cast("Sequence[EmbeddingEngine]", ensemble.engines)
            width = engine.embedding_width
            block = embeddings(self.embeddings, width, shortcuts)
            answers = _keeping(answers, f"--embeddings {self.embeddings}", block)
        for answer in answers:
            yield answer._replace(seen=None)

    def _explanations(self, ensemble: Ensemble) -> AbstractContextManager[Take]:
        from inceptcli.prediction.heat_maps import HeatMaps
        from inceptcli.prediction.outputs.explanations import explanations

        assert self.explain is not None
        index = _find_class(self.class_name, ensemble.classes)
        return explanations(self.explain, HeatMaps(_engine(ensemble)), ensemble.classes, index)


@contextmanager
def gallery_writer(
    page: Path | None, weights: Sequence[str], crops: int, shortcuts: Shortcuts
) -> Iterator[Callable[[Iterable[Answer]], Iterable[Answer]]]:
    """What hands answers on and keeps them for the page, if any, which the block's end writes."""
    if page is None:
        yield lambda answers: answers
        return
    from inceptcli.prediction.outputs.gallery import Gallery

    gallery = Gallery()
    with results_stream(page, "--gallery") as stream:
        yield gallery.collect
        gallery.write(stream, weights, crops, shortcuts)


def _engine(ensemble: Ensemble) -> TorchEngine:
    from inceptcli.prediction.engines.torch_engine import TorchEngine

    (engine,) = ensemble.engines
    assert isinstance(engine, TorchEngine)
    return engine


def _keeping(
    answers: Iterable[Answer], place: str, block: AbstractContextManager[Take]
) -> Iterator[Answer]:
    with ExitStack() as stack:
        try:
            take = stack.enter_context(block)
        except OSError as error:  # nothing is computed yet
            raise UsageError(f"{place}: {error.strerror or error}") from error
        for answer in answers:
            with writing(place):
                take(answer)
            yield answer
        with writing(place):
            stack.close()


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


def _find_class(name: str | None, classes: Sequence[ClassName]) -> int | None:
    from inceptcli.data.label_files import Labels

    if name is None:
        return None
    ids, names = [entry.id for entry in classes], [entry.name for entry in classes]
    try:
        return Labels(ids, names, ids).find(name)
    except ValueError as error:
        raise UsageError(f"--class {printable(name)} {error}") from error


def _check_embeddings(file: Path, output: Path | None) -> None:
    from inceptcli.prediction.outputs.embeddings import SUFFIXES, paths_file
    from inceptcli.prediction.outputs.parquet import check_pyarrow

    if file.suffix not in SUFFIXES:
        raise UsageError(f"--embeddings {file}: must end in {' or '.join(SUFFIXES)}")
    if file.suffix == ".parquet":
        check_pyarrow(f"--embeddings {file}")
    written = [file, paths_file(file)] if file.suffix == ".npy" else [file]
    for path in written:
        if path.exists() and not path.is_file():
            raise UsageError(f"--embeddings {path}: not a regular file")
        if output is not None and path.absolute() == output.absolute():
            raise UsageError(f"--embeddings {path}: --output names the same file")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"--embeddings {file}: no such folder to write into")
