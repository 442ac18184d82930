from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pyarrow import parquet

from inceptcli.data.pixels.decode import UnreadableImage, decode
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import NETWORKS, build
from inceptcli.prediction.engines.engine import load_engine
from inceptcli.prediction.engines.onnx_engine import OnnxEngine
from inceptcli.prediction.engines.torch_engine import TorchEngine
from inceptcli.prediction.ensemble import Ensemble
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.outputs.embeddings import GROUP, embeddings
from inceptcli.prediction.predict import Answer, Seen, predict
from inceptcli.weights.file import load_tensors, save
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.tiny_network import tiny_options

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 75, 75, 3), np.uint8)


def small(name: str, folder: Path) -> Path:
    """Weights of a network with one module of each kind, at 75 pixels."""
    options = tiny_options(name, num_classes=3)
    torch.manual_seed(0)
    classes = tuple(ClassName(letter, letter) for letter in "abc")
    metadata = WeightsMetadata(options, classes, Preprocessing((75, 75)))
    save(folder / "model.safetensors", build(options).state_dict(), metadata)
    return folder / "model.safetensors"


@pytest.mark.parametrize("gradients", [False, True], ids=["ONNX Runtime", "torch"])
@pytest.mark.parametrize("name", NETWORKS)
def test_embeddings_times_the_classifier_are_the_logits(
    name: str, gradients: bool, tmp_path: Path
) -> None:
    file = small(name, tmp_path)
    engine: Any = load_engine(file, "cpu", gradients=gradients)
    assert isinstance(engine, TorchEngine if gradients else OnnxEngine)
    found = engine.outputs(PIXELS)
    assert found.logits == pytest.approx(engine.logits(PIXELS), abs=0)
    assert found.embeddings.shape == (2, engine.embedding_width)
    tensors = load_tensors(file)
    weight, bias = (tensors[f"classifier.{part}"].numpy() for part in ("weight", "bias"))
    embedded = found.embeddings
    if name == "irv1-facenet":
        assert engine.embedding_width == 128
        assert np.linalg.norm(embedded, axis=1) == pytest.approx(1, abs=1e-6)
        # Their length before it was normalized is what scales them to the logits.
        products = embedded @ weight.T
        lengths = (products * (found.logits - bias)).sum(1) / (products**2).sum(1)
        embedded = embedded * lengths[:, None]
    assert embedded @ weight.T + bias == pytest.approx(found.logits, rel=1e-4, abs=1e-5)


def test_the_network_is_run_once(
    weights: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, runs = OnnxEngine(weights), []
    run = engine._run

    def counted(images: NDArray[np.uint8], names: list[str]) -> list[NDArray[np.float32]]:
        runs.append(len(images))
        return run(images, names)

    monkeypatch.setattr(engine, "_run", counted)
    sources = [Source(str(path)) for path in pictures]
    list(predict(sources, Ensemble([engine], batch_size=7), top_k=1, embed=True))
    assert runs == [1] * 7  # one picture at a time, as on every CPU


def test_batches_of_1_and_of_7_agree_and_keep_the_order(
    weights: Path, pictures: list[Path]
) -> None:
    engine = OnnxEngine(weights)

    def found(batch_size: int) -> dict[str, NDArray[np.float32] | None]:
        sources = [Source(str(path)) for path in [*pictures[:3], Path("none.png"), *pictures[3:]]]
        rows: dict[str, NDArray[np.float32] | None] = {}

        def keep(source: Source, seen: Seen | UnreadableImage, answer: Answer) -> None:
            rows[source.path] = seen.embedding if isinstance(seen, Seen) else None

        ensemble = Ensemble([engine], batch_size=batch_size)
        list(predict(sources, ensemble, top_k=1, embed=True, keep=[keep]))
        return rows

    one, seven = found(1), found(7)
    assert list(one) == list(seven)
    for path, first in one.items():
        assert (first is None) == (seven[path] is None) == (path == "none.png")
        if first is not None:
            crop = engine.preprocessing.crop(decode(Path(path)))
            alone = engine.outputs(crop[None]).embeddings[0]
            assert first == pytest.approx(alone, abs=1e-6)
            assert seven[path] == pytest.approx(alone, abs=1e-6)
    rows = np.stack([row for row in one.values() if row is not None])
    assert len(np.unique(rows.round(3), axis=0)) == 7, "the pictures are alike"


Kept = tuple[Source, Seen | UnreadableImage, Answer]


def answered(path: str, embedding: NDArray[np.float32]) -> Kept:
    return Source(path), Seen((1, 1), (), np.ones(1), embedding), Answer(path)


def many(number: int) -> Iterator[Kept]:
    for row in range(number):
        yield answered(f"{row}.png", np.full(3, row, np.float32))
        yield Source(f"{row}.txt"), UnreadableImage("not an image"), Answer(f"{row}.txt")


@pytest.mark.parametrize("number", [0, 1, 7, GROUP, GROUP + 1, 2 * GROUP + 5])
def test_npy_is_a_table_of_that_many_rows_with_its_paths_beside_it(
    number: int, tmp_path: Path
) -> None:
    file = tmp_path / "rows.npy"
    with embeddings(file, 3) as keep:
        for answer in many(number):
            keep(*answer)
        assert sorted(path.suffix for path in tmp_path.iterdir()) == [".partial"] * 2
    rows = np.load(file, allow_pickle=False)
    assert (rows.shape, rows.dtype) == ((number, 3), np.float32)
    assert rows.tolist() == [[row] * 3 for row in range(number)]
    assert np.load(file, mmap_mode="r").shape == (number, 3)
    with (tmp_path / "rows.npy.csv").open(newline="") as table:
        assert list(csv.reader(table)) == [
            ["row", "path"], *([str(row), f"{row}.png"] for row in range(number))
        ]  # fmt: skip


@pytest.mark.parametrize("number", [0, 1, 7, GROUP, GROUP + 1, 2 * GROUP + 5])
def test_parquet_reads_back(number: int, tmp_path: Path) -> None:
    with embeddings(tmp_path / "rows.parquet", 3) as keep:
        for answer in many(number):
            keep(*answer)
    table = parquet.read_table(tmp_path / "rows.parquet")
    assert table.column_names == ["path", "embedding"]
    assert table["path"].to_pylist() == [f"{row}.png" for row in range(number)]
    assert table["embedding"].to_pylist() == [[row] * 3 for row in range(number)]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_paths_are_data(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows{suffix}"
    with embeddings(file, 1) as keep:
        for path in ("k\udce4se.png", "=1+1.png", "a\nb.png"):
            keep(*answered(path, np.zeros(1, np.float32)))
    if suffix == ".parquet":
        found = parquet.read_table(file)["path"].to_pylist()
        assert found == ["k\\udce4se.png", "=1+1.png", "a\nb.png"]
    else:
        with (tmp_path / "rows.npy.csv").open(newline="") as table:
            found = [row["path"] for row in csv.DictReader(table)]
        assert found == ["k\\udce4se.png", "'=1+1.png", "a\nb.png"]


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_files_stay_as_they_were_when_the_work_ends_early(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows{suffix}"
    file.write_text("old")

    def write() -> None:
        with embeddings(file, 1) as keep:
            keep(*answered("a.png", np.zeros(1, np.float32)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
