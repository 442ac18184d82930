from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from safetensors.torch import load_file
from torch.nn import functional
from typer.testing import CliRunner

from inceptcli.cli.app import app
from inceptcli.data.folders import class_folder
from inceptcli.data.sources import FolderSource
from inceptcli.prediction.engines.onnx_engine import OnnxEngine, session_options
from inceptcli.prediction.export import export_onnx, exported_graph
from inceptcli.quantization.cost import Answers, agreement, int8_cost
from inceptcli.quantization.images import FoundImages, choose, find
from inceptcli.weights.file import read_metadata, save
from tests.prediction.conftest import IDS, draw, save_small_network

CALIBRATION, CHECK = 20, 28
OUTLIER = 2000


class Quantized(NamedTuple):
    output: Path
    values: dict[str, Any]
    said: str


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def quantize(weights: Path, images: Path, output: Path, *flags: object) -> Quantized:
    asked = "--calibration-images", CALIBRATION, "--check-images", CHECK, "--format", "json"
    code, stdout, stderr = invoke(
        "quantize", weights, "--images", images, "--output", output, *asked, *flags
    )
    assert code == 0, stderr
    return Quantized(output, json.loads(stdout), stderr)


def fails(code: int, said: str, *arguments: object) -> str:
    found, stdout, stderr = invoke("quantize", *arguments)
    assert (found, stdout) == (code, "")
    errors = [line for line in stderr.splitlines() if "Error" in line]
    assert len(errors) == 1
    assert said in errors[0]
    return errors[0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of each class, and one file that is none."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(8 * len(IDS)):
        draw(folder / IDS[number % len(IDS)] / f"{number}.png", number)
    (folder / IDS[0] / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="module")
def quantized(weights: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    output = tmp_path_factory.mktemp("int8") / "small.onnx"
    return quantize(weights, images, output, "--least-agreement", 0.8)


@pytest.fixture(scope="module")
def outliers(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same function, with one channel between two boxes 2,000 times as large as the others."""
    tensors = load_file(weights)
    for part in ("weight", "bias"):
        tensors[f"stem.5.batch_norm.{part}"][0] *= OUTLIER
    tensors["stem.6.conv.weight"][:, 0] /= OUTLIER
    file = tmp_path_factory.mktemp("outliers") / "model.safetensors"
    save(file, tensors, read_metadata(weights))
    return file


def test_the_cost_is_that_of_pictures_that_set_no_range(
    weights: Path, images: Path, quantized: Quantized
) -> None:
    metadata, values = read_metadata(weights), quantized.values
    chosen = choose(
        find(str(images), weights, metadata), metadata.preprocessing, CALIBRATION, CHECK, 0,
        lambda _: None,
    )  # fmt: skip
    float32, int8 = (
        torch.from_numpy(OnnxEngine(file).logits(chosen.check)).double().softmax(1)
        for file in (weights, quantized.output)
    )
    change = (float32 - int8).abs().amax(1)
    labels = torch.from_numpy(chosen.labels)
    assert (values["calibration_images"], values["check_images"]) == (CALIBRATION, CHECK)
    same = float32.argmax(1) == int8.argmax(1)
    assert values["agreement"] == pytest.approx(same.double().mean().item())
    assert values["top1"] == pytest.approx((int8.argmax(1) == labels).double().mean().item())
    assert values["top1_float"] == pytest.approx(
        (float32.argmax(1) == labels).double().mean().item()
    )
    assert values["mean_change"] == pytest.approx(change.mean().item())
    assert values["largest_change"] == pytest.approx(change.max().item())
    assert values["largest_change"] > 0
    low, high = values["top1_difference_interval"]
    assert low <= values["top1"] - values["top1_float"] <= high
    assert values["speedup"] > 0


def test_every_class_sets_ranges(weights: Path, images: Path) -> None:
    metadata = read_metadata(weights)
    found = find(str(images), weights, metadata)
    chosen = choose(found, metadata.preprocessing, 2 * len(IDS), 30, 0, lambda _: None)
    assert chosen.labels is not None
    counts = np.bincount(chosen.labels[:30], minlength=len(IDS))
    assert counts.min() >= 4  # one is unreadable
    assert len(chosen.calibration) == 2 * len(IDS)


def test_the_numbers_of_images_are_those_asked_for(weights: Path, images: Path) -> None:
    """With fewer images, half of them set the ranges."""
    metadata = read_metadata(weights)
    found = find(str(images), weights, metadata)

    def numbers(calibration: int, check: int) -> tuple[int, int]:
        chosen = choose(found, metadata.preprocessing, calibration, check, 0, lambda _: None)
        return len(chosen.calibration), len(chosen.check)

    assert numbers(30, 16) == (30, 16)
    assert numbers(30, 30) == (24, 24)


@pytest.mark.parametrize("asked", [(16, 16), (26, 6)])
def test_a_rare_class_sets_ranges_and_checks(
    weights: Path, tmp_path: Path, asked: tuple[int, int]
) -> None:
    for number in range(40):
        draw(tmp_path / IDS[number > 2] / f"{number}.png", number)
    metadata = read_metadata(weights)
    found = FoundImages(FolderSource(class_folder(tmp_path)), True)
    chosen = choose(found, metadata.preprocessing, *asked, 0, lambda _: None)
    assert chosen.labels is not None
    assert np.bincount(chosen.labels).tolist() == [1, asked[1] - 1]


def test_an_unreadable_picture_is_named_and_the_rest_is_done(quantized: Quantized) -> None:
    (skipped,) = quantized.values["skipped"]
    assert skipped["path"].endswith("broken.png")
    assert "broken.png" in quantized.said


def test_the_file_is_a_quarter_and_has_the_metadata(weights: Path, quantized: Quantized) -> None:
    values = quantized.values
    assert values["bytes"] == quantized.output.stat().st_size < 0.3 * values["bytes_float"]
    assert values["bytes_float"] == weights.stat().st_size
    metadata = read_metadata(quantized.output)
    assert metadata.classes == read_metadata(weights).classes
    assert metadata.quantization == {
        "method": "percentile",
        "percentile": 99.999,
        "images": CALIBRATION,
        "float32": [],
        "agreement": values["agreement"],
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    model = onnx.load(quantized.output)
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in model.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}


def test_few_images_are_computed_in_int8_too(quantized: Quantized) -> None:
    many, few = OnnxEngine(quantized.output), OnnxEngine(quantized.output, few_images=True)
    shape = (4, *many.preprocessing.image_size, 3)
    crops = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_allclose(few.logits(crops), many.logits(crops), rtol=0, atol=1e-5)


def test_predict_eval_and_summarize_take_it(
    images: Path, quantized: Quantized, tmp_path: Path
) -> None:
    picture = images / IDS[0] / "0.png"
    embeddings = tmp_path / "features.npy"
    code, stdout, _ = invoke(
        "predict", picture, "--weights", quantized.output, "--format", "jsonl",
        "--embeddings", embeddings,
    )  # fmt: skip
    assert code == 0
    assert 0 < json.loads(stdout)["predictions"][0]["probability"] <= 1
    assert np.load(embeddings).shape == (1, 1792)
    code, stdout, stderr = invoke(
        "eval", quantized.output, "--data", images, "--skip-unreadable", "--format", "json"
    )
    assert code == 0, stderr
    assert json.loads(stdout)["images"] == 48
    code, stdout, _ = invoke("summarize", quantized.output)
    assert code == 0
    assert f"int8, ranges by percentile on {CALIBRATION} images" in stdout
    assert "boxes in float32: none" in stdout


def test_the_noise_of_a_box_is_that_of_its_int8_arithmetic(
    weights: Path, images: Path, quantized: Quantized
) -> None:
    """stem.1 alone, from the scales in the file."""
    metadata = read_metadata(weights)
    chosen = choose(
        find(str(images), weights, metadata), metadata.preprocessing, CALIBRATION, CHECK, 0,
        lambda _: None,
    )  # fmt: skip
    model = onnx.load(quantized.output)
    stored = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(stored[name].copy())

    def rounded(values: torch.Tensor, name: str) -> torch.Tensor:
        scale, zero = tensor(f"{name}_scale"), tensor(f"{name}_zero_point").float()
        return ((values / scale).round() + zero).clamp(0, 255).sub(zero) * scale

    floats = {
        each.name: torch.from_numpy(numpy_helper.to_array(each).copy())
        for each in exported_graph(weights, metadata).graph.initializer
    }
    pixels = torch.from_numpy(chosen.check).permute(0, 3, 1, 2) / 127.5 - 1
    before = functional.conv2d(pixels, floats["stem.0.conv.weight"], floats["stem.0.conv.bias"], 2)
    before = before.relu()
    filters, bias = floats["stem.1.conv.weight"], floats["stem.1.conv.bias"]
    signal = functional.conv2d(before, filters, bias).relu()
    scale = tensor("stem.1.conv.weight_scale").view(-1, 1, 1, 1)
    int8 = tensor("stem.1.conv.weight_quantized").float() * scale
    result = functional.conv2d(rounded(before, "stem.0.relu"), int8, bias)
    noise = rounded(result, "stem.1.relu") - signal
    expected = 10 * torch.log10(signal.square().sum() / noise.square().sum())
    (found,) = (box for box in quantized.values["boxes"] if box["box"] == "stem.1")
    assert found["signal_to_noise"] == pytest.approx(expected.item(), abs=0.1)


def test_int8_sums_do_not_overflow_on_any_processor() -> None:
    """ONNX Runtime's own choice without VNNI halves these."""
    weights = numpy_helper.from_array(np.full((64, 8), 127, np.int8), "weights")
    values = helper.make_tensor_value_info("values", TensorProto.UINT8, [1, 64])
    sums = helper.make_tensor_value_info("sums", TensorProto.INT32, [1, 8])
    product = helper.make_node("MatMulInteger", ["values", "weights"], ["sums"])
    graph = helper.make_graph([product], "product", [values], [sums], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = InferenceSession(
        model.SerializeToString(), session_options(1), ["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"values": np.full((1, 64), 255, np.uint8)})
    assert (found == 64 * 255 * 127).all()


@pytest.mark.system
def test_outliers_are_blamed_and_kept_in_float32(
    outliers: Path, images: Path, quantized: Quantized, tmp_path: Path
) -> None:
    output = tmp_path / "int8.onnx"
    base = outliers, "--images", images, "--output", output, "--calibration-images", CALIBRATION
    line = fails(1, "--least-agreement 0.8; nothing was written", *base, "--least-agreement", 0.8)
    assert line.index("stem.6 (") < line.index("--keep-float auto")
    assert not output.exists()
    found = quantize(outliers, images, output, "--least-agreement", 0.8, "--keep-float", "auto")
    values = found.values
    assert values["kept_float"] == ["stem.5", "stem.6"]
    assert values["agreement"] >= 0.8
    worst = min(values["boxes"], key=lambda box: box["signal_to_noise"])
    assert worst["box"] == "stem.6"
    assert worst["agreement"] < 0.8
    assert read_metadata(output).quantization["float32"] == ["stem.5", "stem.6"]  # type: ignore[index]
    figure = tmp_path / "figure.svg"
    code, stdout, _ = invoke("summarize", output, "--figure", figure)
    assert code == 0
    assert "boxes in float32: stem.5, stem.6" in stdout
    assert "2 float32" in figure.read_text()
    by_name = quantize(
        outliers, images, tmp_path / "named.onnx", "--least-agreement", 0.8,
        "--keep-float", "stem.6", "--keep-float", "stem.5", "--keep-float", "inception_a.0",
    )  # fmt: skip
    kept = by_name.values["kept_float"]
    assert kept[:3] == ["stem.5", "stem.6", "inception_a.0.direct.0"]
    assert kept[-1] == "inception_a.0.sum"
    assert by_name.values["agreement"] >= 0.8


@pytest.mark.system
def test_unlabeled_pictures_do(weights: Path, images: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, picture in enumerate(sorted(images.rglob("*.png"))):
        (flat / f"{number}.png").symlink_to(picture)
    found = quantize(weights, flat, tmp_path / "int8.onnx", "--least-agreement", 0.5)
    assert found.values["top1"] is None
    assert found.values["top1_difference_interval"] is None
    code, stdout, _ = invoke(
        "quantize", weights, "--images", flat, "--output", tmp_path / "table.onnx",
        "--least-agreement", 0.5, "--method", "minmax",
    )  # fmt: skip
    assert code == 0
    assert "top-1" not in stdout
    assert "boxes with the most noise" in stdout


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--keep-float", "stem.77"], "--keep-float stem.77: the network has no such box"),
        (["--keep-float", "auto", "--keep-float", "stem.5"], "--keep-float auto chooses the boxes"),
        (["--output", "int8.bin"], "must end in .onnx"),
        (["--method", "minmax", "--percentile", "99"], "--percentile 99 needs --method percentile"),
        (
            ["--output", "missing/int8.onnx"],
            "missing/int8.onnx: No such file or directory",
        ),
    ],
)
def test_wrong_use(
    weights: Path, images: Path, tmp_path: Path, flags: Sequence[str], said: str
) -> None:
    output = tmp_path / "int8.onnx"
    fails(2, said, weights, "--images", images, "--output", output, *flags)
    assert not output.exists()


def test_weights_that_cannot_be_quantized(
    weights: Path, images: Path, quantized: Quantized, tmp_path: Path
) -> None:
    rest = "--images", images, "--output", tmp_path / "int8.onnx"
    fails(2, "is already quantized", quantized.output, *rest)
    exported = tmp_path / "exported.onnx"
    export_onnx(weights, exported)
    fails(2, "an ONNX file; give the weights it was exported from", exported, *rest)
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(
        onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])).SerializeToString()
    )
    fails(1, "foreign.onnx: ", foreign, *rest)


def test_images_that_do_not_do(weights: Path, images: Path, tmp_path: Path) -> None:
    output = "--output", tmp_path / "int8.onnx"
    draw(tmp_path / "other" / "cats" / "0.png", 0)
    fails(1, "cats", weights, "--images", tmp_path / "other", *output)
    fails(
        1, "1 different images of 1 can be read; at least 32 are needed", weights,
        "--images", tmp_path / "other" / "cats", *output,
    )  # fmt: skip
    equal = tmp_path / "equal"
    equal.mkdir()
    for number in range(40):
        draw(equal / f"{number}.png", 0)
    fails(1, "1 different images of 40 can be read", weights, "--images", equal, *output)
    fails(2, "missing", weights, "--images", tmp_path / "missing", *output)


@pytest.mark.system
def test_the_same_command_writes_the_same_bytes(
    weights: Path, images: Path, quantized: Quantized, tmp_path: Path
) -> None:
    """In another process, with other hashes of text; it leaves no other file."""
    output, temporary = tmp_path / "again.onnx", tmp_path / "temporary"
    temporary.mkdir()
    subprocess.run(
        [
            sys.executable, "-m", "inceptcli", "quantize", weights, "--images", images,
            "--output", output, "--calibration-images", str(CALIBRATION),
            "--check-images", str(CHECK), "--least-agreement", "0.8",
        ],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7", "TMPDIR": str(temporary), "HOME": str(temporary)},
    )  # fmt: skip
    assert output.read_bytes() == quantized.output.read_bytes()
    assert not list(temporary.iterdir())


def test_the_labels_of_multi_label_networks_must_all_agree() -> None:
    thresholds = np.array([0.5, 0.2])
    float32 = Answers(np.array([[0.6, 0.1], [0.6, 0.3]]), (1.0, 1.0), thresholds)
    int8 = Answers(np.array([[0.7, 0.15], [0.7, 0.19]]), (0.5, 0.5), thresholds)
    assert agreement(float32, int8) == 0.5
    assert agreement(float32._replace(thresholds=None), int8._replace(thresholds=None)) == 1
    cost = int8_cost(float32, int8, None)
    assert (cost.agreement, cost.top1, cost.speedup) == (0.5, None, 2.0)


def test_one_predicted_class_says_little() -> None:
    answers = Answers(np.array([[0.6, 0.4], [0.7, 0.3]]), (1.0, 1.0))
    assert not int8_cost(answers, answers, None).classes_differ
    assert int8_cost(answers, answers._replace(seconds=(1.0, 1.0)), None).agreement == 1
