from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from inceptcli.cli.app import app
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import build, network_options
from inceptcli.prediction.export import Tensors, folded
from inceptcli.weights.file import read_metadata, save
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.prediction.conftest import CLASSES, draw, save_small_network

DIFFERENCE = r"logit difference on {} images: (\S+) \(standard deviation of the logits: (\S+)\)"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="module")
def exported(weights: Path) -> tuple[Path, str]:
    """The ONNX file of a run directory, and what was said about it."""
    output = weights.with_name("model.onnx")
    output.write_text("what was there before")
    code, stdout, stderr = invoke("export", weights.parent, "--to", "onnx", "--output", output)
    assert (code, stdout) == (0, "")
    return output, stderr


def invoke(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_the_file_takes_the_old_ones_place_and_the_difference_is_printed(
    weights: Path, exported: tuple[Path, str]
) -> None:
    output, said = exported
    assert read_metadata(output) == read_metadata(weights)
    found = re.fullmatch("largest " + DIFFERENCE.format("4 generated"), said.splitlines()[0])
    assert found
    assert 0 < float(found[1]) < 1e-4 * float(found[2])
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "model.onnx",
        "model.safetensors",
    ]


def test_eval_gives_the_same_results_on_what_was_exported(
    weights: Path, exported: tuple[Path, str], tmp_path: Path
) -> None:
    for number in range(12):
        draw(tmp_path / f"n{number % len(CLASSES)}" / f"{number}.png", number)
    results = []
    for file in (exported[0], weights):
        options = ("--data", tmp_path, "--device", "cpu", "--format", "json")
        code, output, _ = invoke("eval", file, *options)
        assert code == 0
        results.append(json.loads(output))
    assert [result.pop("weights") for result in results] == [[str(exported[0])], [str(weights)]]
    for figure in ("loss", "loss_interval", "calibration_error"):
        of_exported, of_ours = (result.pop(figure) for result in results)
        assert of_exported == pytest.approx(of_ours, abs=1e-4)
    for of_exported, of_ours in zip(
        *(result.pop("calibration") for result in results), strict=True
    ):
        assert of_exported == pytest.approx(of_ours, abs=1e-4)
    assert results[0] == results[1]
    assert results[0]["images"] == 12


def test_summarize_describes_what_was_exported(weights: Path, exported: tuple[Path, str]) -> None:
    described = [invoke("summarize", file) for file in (exported[0], weights)]
    assert described[0] == described[1]
    assert "6 classes, images of 75x75 pixels" in described[0][1]


def test_real_images_are_taken_when_a_folder_is_given(weights: Path, tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / "pictures" / f"{number}.png", number)
    (tmp_path / "pictures" / "broken.png").write_text("not a picture")
    options = ("--to", "onnx", "--output", tmp_path / "a.onnx", "--images", tmp_path / "pictures")
    code, _, said = invoke("export", weights, *options)
    assert code == 0
    assert re.search(DIFFERENCE.format("3"), said)


def test_a_file_that_gives_other_logits_is_not_kept(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slightly_wrong(tensors: Tensors, epsilon: float) -> Tensors:
        return folded(tensors, 2 * epsilon)

    monkeypatch.setattr("inceptcli.prediction.export.folded", slightly_wrong)
    output = tmp_path / "model.onnx"
    output.write_text("what was there before")
    code, _, said = invoke("export", weights, "--to", "onnx", "--output", output)
    assert code == 1
    assert re.search(r"exported to onnx, its logits differ by up to .* nothing was written", said)
    assert output.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [output]


def test_a_missing_package_is_named_with_what_installs_it(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inceptcli.cli.export.find_spec", lambda name: None)
    code, _, said = invoke(
        "export", weights, "--to", "timm", "--output", tmp_path / "a.safetensors"
    )
    assert code == 1
    assert "--to timm needs timm; pip install 'inceptcli[timm]'" in said


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_a_package_that_cannot_be_imported_onnx_is_one_line(
    package: str, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "fake" / package).mkdir(parents=True)
    (tmp_path / "fake" / package / "__init__.py").write_text("raise ImportError('no wheel')")
    words = [sys.executable, "-m", "inceptcli", "export", str(weights), "--to", "onnx", "--output"]
    path = os.pathsep.join([str(tmp_path / "fake"), *sys.path])
    done = subprocess.run(
        [*words, str(tmp_path / "a.onnx")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1:] == [
        "Error: --to onnx needs onnx and ONNX Runtime: no wheel"
    ]
    assert not (tmp_path / "a.onnx").exists()


USAGE = {
    "missing weights": ("none --to onnx --output a.onnx", "none: no such weights file"),
    "no target": ("RUN --output a", "--to"),
    "unknown target": ("RUN --to tflite --output a", "Invalid value for '--to': 'tflite'"),
    "no output": ("RUN --to onnx", "--output"),
    "no folder for output": (
        "RUN --to onnx --output none/a.onnx",
        "none/a.onnx: No such file or directory",
    ),
    "folder as output": ("RUN --to onnx --output .", "--output .: not a regular file"),
    "weights as output": ("RUN --to timm --output RUN/model.safetensors", "give another file"),
    "no images": (
        "RUN --to onnx --output a.onnx --images .",
        "--images .: no images in this folder",
    ),
    "an ONNX file": (
        "RUN/model.onnx --to timm --output a.safetensors",
        "give the weights it was exported from",
    ),
}


@pytest.mark.parametrize("name", USAGE)
def test_a_usage_error_is_one_line_exits_with_2_and_loads_no_torch(
    name: str, exported: tuple[Path, str], tmp_path: Path
) -> None:
    arguments, message = USAGE[name]
    run = str(exported[0].parent)
    words = [word.replace("RUN", run) for word in arguments.split()]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "inceptcli", "export", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines()
    imported = {line.rsplit("|", 1)[1].strip() for line in lines if line.startswith("import time:")}
    assert "typer" in imported
    assert not imported & {"torch", "onnx", "onnxruntime", "timm"}
    assert done.returncode == 2
    (said,) = (line for line in lines if not line.startswith("import time:"))
    assert message in said
    assert not list(tmp_path.iterdir())


@pytest.mark.system
@pytest.mark.parity
def test_what_is_written_for_timm_is_run_in_timm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = network_options("iv4-tf", num_classes=3)
    network = build(options)
    metadata = WeightsMetadata(
        options, tuple(ClassName(name, name) for name in "abc"), Preprocessing((75, 75))
    )
    save(tmp_path / "model.safetensors", network.state_dict(), metadata)
    output = tmp_path / "timm.safetensors"
    code, _, said = invoke(
        "export", tmp_path / "model.safetensors", "--to", "timm", "--output", output
    )
    assert code == 0
    assert re.search(DIFFERENCE.format("4 generated"), said)
    assert "features.0.conv.weight" in load_file(output)


def test_a_network_that_timm_lacks_is_refused(weights: Path, tmp_path: Path) -> None:
    code, _, said = invoke(
        "export", weights, "--to", "timm", "--output", tmp_path / "a.safetensors"
    )
    assert code == 1
    assert "timm does not have irv1" in said
    assert not list(tmp_path.iterdir())
