from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from inceptcli.data.pixels.normalization import normalize
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.pixels.shapes import draw
from inceptcli.errors import UserError
from inceptcli.networks.registry import NETWORKS, NetworkOptions, build, network_options
from inceptcli.prediction.engines.engine import Engine, load_engine, tell_of_torch
from inceptcli.prediction.engines.onnx_engine import OnnxEngine, find_provider
from inceptcli.prediction.engines.torch_engine import TorchEngine
from inceptcli.prediction.ensemble import softmax
from inceptcli.weights.file import load_tensors, read_metadata, save
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from inceptcli.weights.stored_tensors import StoredTensor, stored_tensors
from tests.photographs import photographs
from tests.weights.parity import assert_same, make_able_to_fail

Crops = NDArray[np.uint8]

SIDE = 139
"""Pixels: grids of 15, 7 and 3, small enough to be quick and large enough for every kernel."""


@pytest.fixture(params=["weights", "onnx_weights"])
def form(request: pytest.FixtureRequest) -> Path:
    """A weights file, and the ONNX file that was exported from it."""
    file: Path = request.getfixturevalue(request.param)
    return file


@pytest.fixture
def onnx_engine(form: Path) -> OnnxEngine:
    return OnnxEngine(form)


def drawn(size: tuple[int, int] = (75, 75), number: int = 10) -> Crops:
    return np.stack([draw(0, index, size) for index in range(number)])


def crops_of_photographs(preprocessing: Preprocessing, number: int) -> Crops:
    return np.stack([preprocessing.crop(photo) for photo in photographs(number)])


def assert_alike(found: Engine, expected: Engine, crops: Crops) -> None:
    """The same five classes in the same order, and probabilities within 1e-4."""
    ours, theirs = found.logits(crops), expected.logits(crops)
    # Else any picture would do, and a wrong crop or normalization would not be seen.
    assert theirs.std(axis=0).mean() > 0.3 * theirs.std()
    probabilities = softmax(ours), softmax(theirs)
    np.testing.assert_allclose(*probabilities, rtol=0, atol=1e-4)
    best, expected_best = (np.argsort(-values, axis=1)[:, :5] for values in probabilities)
    np.testing.assert_array_equal(best, expected_best)


def test_drawn_pictures_get_the_answers_of_torch(form: Path, engine: TorchEngine) -> None:
    assert_alike(OnnxEngine(form), engine, drawn())


@pytest.mark.parametrize("few_images", [True, False])
def test_tensors_that_are_mapped_from_the_file_change_no_bit(
    few_images: bool, form: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").mkdir()
    shutil.copy(form, tmp_path / "store/blob")
    (tmp_path / "link").symlink_to(tmp_path / "store/blob")
    found = OnnxEngine(tmp_path / "link", few_images=few_images).outputs(drawn())
    # Without it the tensors are in the model itself.
    monkeypatch.setattr(
        "inceptcli.prediction.engines.onnx_session.without_tensors",
        lambda path, _: path.read_bytes(),
    )
    monkeypatch.setattr("inceptcli.prediction.engines.onnx_session._is_mappable", lambda *_: False)
    expected = OnnxEngine(form, few_images=few_images).outputs(drawn())
    np.testing.assert_array_equal(found.logits, expected.logits)
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)


def test_photographs_get_the_answers_of_torch(form: Path, engine: TorchEngine) -> None:
    assert_alike(OnnxEngine(form), engine, crops_of_photographs(engine.preprocessing, 51))


def test_embeddings_are_those_of_torch(form: Path, engine: TorchEngine) -> None:
    crops = crops_of_photographs(engine.preprocessing, 12)
    found, expected = OnnxEngine(form).outputs(crops), engine.outputs(crops)
    spread = expected.embeddings.std()
    assert (expected.embeddings - expected.embeddings.mean(0)).std() > 0.3 * spread
    np.testing.assert_allclose(found.embeddings, expected.embeddings, rtol=0, atol=1e-4 * spread)
    np.testing.assert_array_equal(found.logits, OnnxEngine(form).logits(crops))


@pytest.mark.system
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_photographs_the_logits_of_torch(name: str, tmp_path: Path) -> None:
    options = network_options(name, num_classes=11, width=0.25)
    network, view = build(options), Preprocessing((SIDE, SIDE))
    crops = crops_of_photographs(view, 12)
    images = normalize(torch.from_numpy(crops).permute(0, 3, 1, 2), view.mean, view.std)
    make_able_to_fail(network, images[::2])
    classes = tuple(ClassName(str(number), str(number)) for number in range(11))
    file = tmp_path / "model.safetensors"
    save(file, network.state_dict(), WeightsMetadata(options, classes, view))
    with torch.inference_mode():
        expected = torch.cat([network(image[None]) for image in images])
    engine = OnnxEngine(file)
    found = engine.logits(crops)
    assert_same(torch.from_numpy(found), expected)
    np.testing.assert_array_equal(engine.logits(crops[7:8]), found[7:8])


def test_the_batch_does_not_change_a_single_bit(onnx_engine: OnnxEngine) -> None:
    crops = drawn()
    alone = np.concatenate([onnx_engine.logits(crop[None]) for crop in crops])
    np.testing.assert_array_equal(onnx_engine.logits(crops), alone)
    np.testing.assert_array_equal(onnx_engine.logits(crops[::-1])[::-1], alone)


def test_other_runtimes_may_give_it_any_number_at_once(onnx_engine: OnnxEngine) -> None:
    (together,) = onnx_engine.session.run(["logits"], {"images": drawn()})
    np.testing.assert_allclose(together, onnx_engine.logits(drawn()), rtol=0, atol=1e-4)


def test_classes_and_preprocessing_are_those_of_the_weights(
    onnx_engine: OnnxEngine, engine: TorchEngine
) -> None:
    assert onnx_engine.classes == engine.classes
    assert onnx_engine.preprocessing == engine.preprocessing


def test_the_form_goes_by_the_content_not_by_the_name(
    weights: Path, onnx_weights: Path, tmp_path: Path
) -> None:
    shutil.copy(onnx_weights, tmp_path / "model.safetensors")
    shutil.copy(weights, tmp_path / "model.onnx")
    first, second = (
        OnnxEngine(tmp_path / name).logits(drawn()) for name in ("model.safetensors", "model.onnx")
    )
    np.testing.assert_array_equal(first, OnnxEngine(onnx_weights).logits(drawn()))
    np.testing.assert_array_equal(second, OnnxEngine(weights).logits(drawn()))


@pytest.mark.parametrize(
    ("device", "options", "kind"),
    [
        ("cpu", {}, OnnxEngine),
        ("auto", {}, OnnxEngine),
        ("cpu", {"gradients": True}, TorchEngine),
        ("cpu", {"precision": "bf16-mixed"}, TorchEngine),
    ],
)
def test_onnx_runtime_computes_on_a_cpu_and_torch_what_it_cannot(
    device: str,
    options: dict[str, Any],
    kind: type,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert isinstance(load_engine(weights, device, **options), kind)


def test_where_a_gpu_is_torch_computes(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inceptcli.prediction.engines.devices._may_have_accelerator", lambda: True)
    monkeypatch.setattr("inceptcli.prediction.engines.torch_engine.find_device", torch.device)
    monkeypatch.setattr(TorchEngine, "load", lambda *_, **__: "torch")
    assert load_engine(weights, "cuda") == "torch"  # type: ignore[comparison-overlap]


def test_of_an_onnx_file_torch_is_not_asked_for_its_devices(
    onnx_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inceptcli.prediction.engines.devices._may_have_accelerator", lambda: True)
    monkeypatch.setattr("inceptcli.prediction.engines.torch_engine.find_device", None)
    assert isinstance(load_engine(onnx_weights), OnnxEngine)


def test_without_onnx_runtime_torch_computes_and_one_notice_says_so(
    weights: Path, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    tell_of_torch.cache_clear()
    engines = [load_engine(weights, "cpu") for _ in range(2)]
    assert all(isinstance(engine, TorchEngine) for engine in engines)
    (line,) = notices
    assert "ONNX Runtime cannot be imported" in line


def test_weights_that_are_replaced_while_they_are_read_are_read_again(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, later = tmp_path / "model.safetensors", tmp_path / "later.safetensors"
    shutil.copy(weights, run)
    metadata, tensors = read_metadata(weights), load_tensors(weights)
    tensors["classifier.bias"] += 1
    save(later, tensors, replace(metadata, epoch=7, classes=metadata.classes[::-1]))
    expected = OnnxEngine(later).logits(drawn())

    def replaced(file: Path, network: NetworkOptions) -> dict[str, StoredTensor]:
        found = stored_tensors(file, network)
        if later.exists():  # its header is longer: the tensors lie elsewhere
            later.replace(run)
        return found

    monkeypatch.setattr("inceptcli.prediction.engines.onnx_session.stored_tensors", replaced)
    engine = OnnxEngine(run)
    assert engine.classes == metadata.classes[::-1]
    np.testing.assert_array_equal(engine.logits(drawn()), expected)


def test_weights_that_change_again_and_again_are_one_line(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copy(weights, tmp_path / "model.safetensors"))

    def touched(file: Path, network: NetworkOptions) -> dict[str, StoredTensor]:
        found = stored_tensors(file, network)
        os.utime(run, ns=(0, run.stat().st_mtime_ns + 1))
        return found

    monkeypatch.setattr("inceptcli.prediction.engines.onnx_session.stored_tensors", touched)
    with pytest.raises(UserError, match="keeps changing; run again when it is complete"):
        OnnxEngine(run)


@pytest.mark.parametrize("few_images", [False, True])
def test_weights_that_somebody_writes_into_give_no_more_answers(
    few_images: bool, form: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copy(form, tmp_path / "run"))
    engine = OnnxEngine(run, few_images=few_images)
    expected = engine.logits(drawn())
    shutil.copy(form, tmp_path / "other")
    (tmp_path / "other").replace(run)  # what was mapped stays
    np.testing.assert_array_equal(engine.logits(drawn()), expected)
    run.unlink()
    np.testing.assert_array_equal(engine.logits(drawn()), expected)

    run = Path(shutil.copy(form, tmp_path / "run"))
    engine = OnnxEngine(run, few_images=few_images)
    with run.open("r+b") as file:
        file.seek(-400, os.SEEK_END)
        file.write(bytes(200))
    with pytest.raises(UserError, match=r"run: was modified while in use; run again"):
        engine.logits(drawn())


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux")
@pytest.mark.parametrize("place", ["b\udcffd/model", "model\udcff"])
def test_names_that_are_not_utf_8_lead_to_the_same_answers(
    place: str, form: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = OnnxEngine(form).logits(drawn())
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    shutil.copy(form, file)
    monkeypatch.chdir(tmp_path)
    # Tensors of another network under the same name where the process is.
    other = bytearray(form.read_bytes())
    other[-60_000:] = bytes(60_000)
    (tmp_path / file.name).write_bytes(other) if file.parent != tmp_path else None
    np.testing.assert_array_equal(OnnxEngine(file).logits(drawn()), expected)


def test_nothing_is_told_to_anybody_and_nothing_left_in_the_home_folder(
    form: Path, pictures: list[Path], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    words = [sys.executable, "-m", "inceptcli", "predict", *map(str, pictures), "--weights"]
    environment = {**os.environ, "HOME": str(home)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([*words, str(form)], env=environment, capture_output=True, check=True)
    assert not list(home.rglob("*"))


def predict(arguments: Sequence[object]) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-X", "importtime", "-m", "inceptcli", "predict", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("flags", [[], ["--embeddings", "e.npy"], ["--crops", "10"]])
def test_predict_imports_no_torch(
    flags: list[str], form: Path, pictures: list[Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    done = predict([*pictures, "--device", "cpu", "--format", "csv", "--weights", form, *flags])
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert {"numpy", "onnxruntime"} <= imported
    assert not imported & {"torch", "torchvision", "lightning"}
    assert len(list(csv.DictReader(StringIO(done.stdout)))) == 7 * 5


def test_a_network_that_cannot_be_run_is_refused_in_one_line(
    onnx_weights: Path, tmp_path: Path
) -> None:
    model = onnx.load(onnx_weights)
    model.graph.node[5].op_type = "Nonsense"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UserError, match=r"model\.onnx: not an ONNX file.* operator Nonsense"):
        OnnxEngine(tmp_path / "model.onnx")


def test_without_onnx_runtime_an_onnx_file_is_refused(
    onnx_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"model\.onnx: an ONNX file needs ONNX Runtime: "):
        load_engine(onnx_weights)


def test_cuda_is_taken_when_it_is_asked_for_only() -> None:
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert find_provider("auto", available) == ("CPUExecutionProvider", {})
    provider, options = find_provider("cuda:1", available)
    assert (provider, options["device_id"]) == (available[0], 1)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_onnx_runtime_lacks_is_named(device: str) -> None:
    with pytest.raises(UserError, match=rf"--device {device}: .* no such device; usable: cpu$"):
        find_provider(device, ["AzureExecutionProvider", "CPUExecutionProvider"])


def test_an_engine_for_few_images_gives_the_same_answers(form: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, 75, 75, 3)).astype(np.uint8)
    many, few = OnnxEngine(form), OnnxEngine(form, few_images=True)
    np.testing.assert_allclose(
        softmax(few.logits(crops)), softmax(many.logits(crops)), rtol=0, atol=1e-5
    )
