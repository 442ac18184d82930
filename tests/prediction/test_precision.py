"""Other precisions: near float32, said in every result, refused where they make no sense."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from inceptcli.errors import UsageError
from inceptcli.prediction.engines.devices import BATCH_SIZE, default_batch_size
from inceptcli.prediction.engines.engine import load_engine
from inceptcli.prediction.engines.torch_engine import TorchEngine
from inceptcli.prediction.recorded_options import Precision, RecordedOptions
from tests.cli.conftest import check_one_line, inceptcli
from tests.photographs import photographs
from tests.prediction.test_torch_engine import random_crops

FLOAT32_ROUNDING, BF16_ROUNDING = 1e-4, 0.1
"""Of logits, as shares of their deviation; some hundred of them add up, 2^-24 and 2^-8 each."""


def deviations(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / expected.std())


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bf16_differs_by_its_rounding(
    weights: Path, engine: TorchEngine, precision: Precision
) -> None:
    rounded = TorchEngine.load(weights, "cpu", precision=precision)
    crops = random_crops(5)
    found, expected = rounded.logits(crops), engine.logits(crops)
    assert found.dtype == np.float32
    assert FLOAT32_ROUNDING < deviations(found, expected) < BF16_ROUNDING
    alone = np.concatenate([rounded.logits(crop[None]) for crop in crops])
    np.testing.assert_array_equal(found, alone)


def test_fifty_one_photographs_have_the_same_probabilities_within_bf16(
    weights: Path, engine: TorchEngine
) -> None:
    crops = np.stack([engine.preprocessing.crop(image) for image in photographs(51)])
    found = TorchEngine.load(weights, "cpu", precision="bf16-mixed").logits(crops)
    expected = engine.logits(crops)
    assert FLOAT32_ROUNDING < deviations(found, expected) < BF16_ROUNDING
    near = np.sort(expected, axis=1)
    clear = near[:, -1] - near[:, -2] > 2 * BF16_ROUNDING * expected.std()
    assert clear.sum() > 25
    assert (found.argmax(1) == expected.argmax(1))[clear].all()


def test_mixed_keeps_the_weights_and_true_does_not(weights: Path) -> None:
    mixed = TorchEngine.load(weights, "cpu", precision="bf16-mixed").network
    true = TorchEngine.load(weights, "cpu", precision="bf16-true").network
    assert {parameter.dtype for parameter in mixed.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in true.parameters()} == {torch.bfloat16}


def test_embeddings_are_float32(weights: Path) -> None:
    found = TorchEngine.load(weights, "cpu", precision="bf16-true").outputs(random_crops(2))
    assert found.embeddings.dtype == found.logits.dtype == np.float32


@pytest.mark.parametrize("precision", ["16-mixed", "16-true"])
def test_half_precision_on_a_cpu_is_refused(weights: Path, precision: Precision) -> None:
    with pytest.raises(
        UsageError, match=f"--precision {precision}: slower on a CPU; give bf16-mixed"
    ):
        load_engine(weights, "cpu", precision=precision)


def test_an_onnx_file_is_refused_with_what_to_give_instead(
    onnx_weights: Path, tmp_path: Path
) -> None:
    arguments = ["predict", str(tmp_path), "--weights", str(onnx_weights)]
    done = inceptcli(*arguments, "--precision", "bf16-mixed")
    check_one_line(done, 2, "an ONNX file, which supports 32-true only; give the weights that")


def test_explain_is_refused(weights: Path, pictures: Sequence[Path], tmp_path: Path) -> None:
    arguments = ["predict", str(pictures[0]), "--weights", str(weights), "--explain"]
    done = inceptcli(*arguments, str(tmp_path / "maps"), "--precision", "bf16-true")
    check_one_line(done, 2, "--explain computes gradients in 32-true; omit --precision")


def test_a_cpu_computes_few_crops_at_once(weights: Path, onnx_weights: Path) -> None:
    assert default_batch_size([weights, onnx_weights], "cpu", 144) == BATCH_SIZE


def test_on_cuda_a_batch_is_of_whole_pictures(
    weights: Path, onnx_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("inceptcli.prediction.engines.devices._may_have_accelerator", lambda: True)
    assert [default_batch_size([weights], "auto", crops) for crops in (1, 10, 12, 144)] == [
        256, 260, 252, 288
    ]  # fmt: skip
    assert default_batch_size([onnx_weights], "auto", 1) == BATCH_SIZE


@pytest.mark.parametrize("form", ["jsonl", "csv", "table", "json"])
def test_answers_say_it_and_only_then(weights: Path, pictures: Sequence[Path], form: str) -> None:
    arguments = ["predict", *map(str, pictures[:2]), "--weights", str(weights), "--format", form]
    plain = inceptcli(*arguments, "--precision", "32-true")
    found = inceptcli(*arguments, "--precision", "bf16-mixed")
    assert plain.exit_code == found.exit_code == 0
    assert "precision" not in plain.stdout
    if form == "jsonl":
        rows = [json.loads(line) for line in found.stdout.splitlines()]
        assert [row["precision"] for row in rows] == ["bf16-mixed"] * 2
    if form == "json":
        assert [row["precision"] for row in json.loads(found.stdout)] == ["bf16-mixed"] * 2
    if form == "csv":
        rows = list(csv.DictReader(found.stdout.splitlines()))
        assert {row["precision"] for row in rows} == {"bf16-mixed"}
    if form == "table":
        assert found.stdout.startswith("precision: bf16-mixed\n")


def test_files_beside_the_answers_say_it(
    weights: Path, pictures: Sequence[Path], tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    outputs = {name: tmp_path / name for name in ("a.parquet", "e.npy", "g.html")}
    done = inceptcli(
        "predict", *map(str, pictures[:2]), "--weights", str(weights), "--precision", "bf16-true",
        "--output", str(outputs["a.parquet"]), "--embeddings", str(outputs["e.npy"]),
        "--gallery", str(outputs["g.html"]), "--fast-decode",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    table = parquet.read_table(outputs["a.parquet"])
    assert table.column_names[3:] == ["fast_decode", "precision"]
    assert table["precision"].to_pylist() == ["bf16-true"] * 2
    rows = list(csv.DictReader((tmp_path / "e.npy.csv").read_text().splitlines()))
    assert [(row["fast_decode"], row["precision"]) for row in rows] == [("true", "bf16-true")] * 2
    assert "<dt>precision</dt><dd>bf16-true</dd>" in outputs["g.html"].read_text()


def test_a_part_of_another_precision_is_not_gone_on_with(
    weights: Path, pictures: Sequence[Path], tmp_path: Path
) -> None:
    part = tmp_path / "parts"
    arguments = [
        "predict", *map(str, pictures), "--weights", str(weights), "--shard", "0/1", "--output",
        str(part),
    ]  # fmt: skip
    assert inceptcli(*arguments, "--precision", "bf16-mixed").exit_code == 0
    done = inceptcli(*arguments)
    check_one_line(done, 2, "was started with --precision bf16-mixed, not 32-true")
    merged = inceptcli("merge", str(part), "--quiet")
    rows = [json.loads(line) for line in merged.stdout.splitlines()]
    assert [row["precision"] for row in rows] == ["bf16-mixed"] * len(pictures)


def test_evaluations_say_it(weights: Path, pictures: Sequence[Path], tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    rows = [f"{path.relative_to(tmp_path)},n{number % 6}" for number, path in enumerate(pictures)]
    labels.write_text("path,label\n" + "\n".join(rows) + "\n")
    files = {name: tmp_path / name for name in ("p.csv", "c.csv", "r.html")}
    arguments = ["eval", str(weights), "--data", str(labels), "--precision", "bf16-mixed"]
    done = inceptcli(
        *arguments, "--format", "json", "--predictions", str(files["p.csv"]), "--confusion",
        str(files["c.csv"]), "--report", str(files["r.html"]),
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["precision"] == "bf16-mixed"
    for name in ("p.csv", "c.csv"):
        found = list(csv.DictReader(files[name].read_text().splitlines()))
        assert {row["precision"] for row in found} == {"bf16-mixed"}
    assert "<dt>precision</dt><dd>bf16-mixed</dd>" in files["r.html"].read_text()
    assert "precision bf16-mixed: top-1" in inceptcli(*arguments).stdout


def test_recorded_options_are_those_that_differ() -> None:
    assert RecordedOptions().as_dict() == {}
    assert RecordedOptions(True, "16-true").as_texts() == {
        "fast_decode": "true",
        "precision": "16-true",
    }
