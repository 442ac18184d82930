from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from inceptcli.data.normalization import normalize
from inceptcli.data.preprocessing import Preprocessing
from inceptcli.data.shapes import draw
from inceptcli.errors import UserError
from inceptcli.networks.registry import build, network_options
from inceptcli.prediction.engine import Engine, load_engine
from inceptcli.prediction.ensemble import softmax
from inceptcli.prediction.export_onnx import export_onnx
from inceptcli.prediction.onnx_engine import OnnxEngine, find_provider
from inceptcli.prediction.torch_engine import TorchEngine
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.photographs import photographs

Crops = NDArray[np.uint8]


@pytest.fixture(scope="module")
def onnx_engine(onnx_weights: Path) -> OnnxEngine:
    return OnnxEngine(onnx_weights)


def drawn(size: tuple[int, int] = (75, 75), number: int = 10) -> Crops:
    return np.stack([draw(0, index, size) for index in range(number)])


def crops_of_photographs(preprocessing: Preprocessing, number: int) -> Crops:
    return np.stack([preprocessing.crop(photo) for photo in photographs(number)])


def assert_alike(found: Engine, expected: Engine, crops: Crops) -> None:
    """The same five classes in the same order, and probabilities within 1e-4."""
    ours, theirs = found.logits(crops), expected.logits(crops)
    # Else any picture would do, and a wrong crop or normalisation would not be seen.
    assert theirs.std(axis=0).mean() > 0.3 * theirs.std()
    probabilities = softmax(ours), softmax(theirs)
    np.testing.assert_allclose(*probabilities, rtol=0, atol=1e-4)
    best, expected_best = (np.argsort(-values, axis=1)[:, :5] for values in probabilities)
    np.testing.assert_array_equal(best, expected_best)


def test_drawn_pictures_get_the_answers_of_torch(
    onnx_engine: OnnxEngine, engine: TorchEngine
) -> None:
    assert_alike(onnx_engine, engine, drawn())


@pytest.mark.parametrize("few_images", [True, False])
def test_tensors_that_are_mapped_from_the_file_change_no_bit(
    few_images: bool, onnx_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").mkdir()
    shutil.copy(onnx_weights, tmp_path / "store/blob")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "store/blob")
    found = OnnxEngine(tmp_path / "link.onnx", few_images=few_images).logits(drawn())
    # Without it the file's own bytes are the model.
    monkeypatch.setattr("inceptcli.prediction.onnx_engine.without_tensors", Path.read_bytes)
    expected = OnnxEngine(onnx_weights, few_images=few_images).logits(drawn())
    np.testing.assert_array_equal(found, expected)


def test_photographs_get_the_answers_of_torch(onnx_engine: OnnxEngine, engine: TorchEngine) -> None:
    assert_alike(onnx_engine, engine, crops_of_photographs(engine.preprocessing, 51))


@pytest.mark.slow
def test_photographs_get_the_answers_of_torch_from_the_released_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = network_options("irv2-tf")
    network = build(options)
    crop = Preprocessing((299, 299), crop_fraction=0.8975)
    crops = crops_of_photographs(crop, 24)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        some = torch.from_numpy(crops[::2]).permute(0, 3, 1, 2)
        network.train()(normalize(some, crop.mean, crop.std))
        network.get_parameter("classifier.weight").mul_(3)
    classes = tuple(ClassName(f"n{index}", f"class {index}") for index in range(1000))
    metadata = WeightsMetadata(options, classes, crop)
    export_onnx(network, metadata, tmp_path / "model.onnx")
    found = OnnxEngine(tmp_path / "model.onnx")
    assert_alike(found, TorchEngine(network, metadata, "cpu"), crops)


def test_the_batch_does_not_change_the_logits(onnx_engine: OnnxEngine) -> None:
    crops = drawn()
    alone = np.concatenate([onnx_engine.logits(crop[None]) for crop in crops])
    np.testing.assert_allclose(onnx_engine.logits(crops), alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(onnx_engine.logits(crops[::-1])[::-1], alone, rtol=0, atol=1e-5)


def test_other_runtimes_may_give_it_any_number_at_once(onnx_engine: OnnxEngine) -> None:
    (together,) = onnx_engine.session.run(None, {"images": drawn()})
    np.testing.assert_allclose(together, onnx_engine.logits(drawn()), rtol=0, atol=1e-4)


def test_classes_and_preprocessing_are_those_of_the_weights(
    onnx_engine: OnnxEngine, engine: TorchEngine
) -> None:
    assert onnx_engine.classes == engine.classes
    assert onnx_engine.preprocessing == engine.preprocessing


def test_the_engine_goes_by_the_content_not_by_the_name(
    weights: Path, onnx_weights: Path, tmp_path: Path
) -> None:
    shutil.copy(onnx_weights, tmp_path / "model.safetensors")
    shutil.copy(weights, tmp_path / "model.onnx")
    assert isinstance(load_engine(tmp_path / "model.safetensors", "cpu"), OnnxEngine)
    assert isinstance(load_engine(tmp_path / "model.onnx", "cpu"), TorchEngine)


def predict(arguments: Sequence[object]) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-X", "importtime", "-m", "inceptcli", "predict", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=True)


def test_predict_writes_the_same_rows_and_imports_no_torch(
    weights: Path, onnx_weights: Path, pictures: list[Path]
) -> None:
    options = (*pictures, "--device", "cpu", "--format", "csv", "--weights")
    ours, theirs = predict([*options, onnx_weights]), predict([*options, weights])
    imported = {line.rsplit("|", 1)[-1].strip() for line in ours.stderr.splitlines()}
    assert {"numpy", "onnxruntime"} <= imported
    assert not imported & {"torch", "torchvision", "lightning", "onnxscript"}
    found, expected = (list(csv.DictReader(StringIO(done.stdout))) for done in (ours, theirs))
    assert len(found) == 7 * 5
    for row, other in zip(found, expected, strict=True):
        assert float(row.pop("probability")) == pytest.approx(
            float(other.pop("probability")), abs=1e-4
        )
        assert row == other


def test_a_network_that_cannot_be_run_is_refused_in_one_line(
    onnx_weights: Path, tmp_path: Path
) -> None:
    model = onnx.load(onnx_weights)
    model.graph.node[5].op_type = "Nonsense"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UserError, match=r"model\.onnx: not an ONNX file.* operator Nonsense"):
        OnnxEngine(tmp_path / "model.onnx")


def test_without_onnx_runtime_the_error_says_what_to_install(
    onnx_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs ONNX Runtime; pip install 'inceptcli\[onnx\]'"):
        OnnxEngine(onnx_weights)


def test_cuda_is_taken_when_it_is_asked_for_only() -> None:
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert find_provider("auto", available) == ("CPUExecutionProvider", {})
    provider, options = find_provider("cuda:1", available)
    assert (provider, options["device_id"]) == (available[0], 1)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_onnx_runtime_lacks_is_named(device: str) -> None:
    with pytest.raises(UserError, match=rf"--device {device}: .* no such device; usable: cpu$"):
        find_provider(device, ["AzureExecutionProvider", "CPUExecutionProvider"])


def test_an_engine_for_few_images_gives_the_same_answers(onnx_weights: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, 75, 75, 3)).astype(np.uint8)
    many, few = OnnxEngine(onnx_weights), OnnxEngine(onnx_weights, few_images=True)
    np.testing.assert_allclose(
        softmax(few.logits(crops)), softmax(many.logits(crops)), rtol=0, atol=1e-5
    )
