"""A network without a trained classifier: embeddings, and never a class."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import build, network_options
from inceptcli.weights.file import load_network, load_tensors, read_metadata, save
from inceptcli.weights.keys.timm_keys import INCEPTION_V4
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.cli.conftest import check_one_line, inceptcli
from tests.prediction.conftest import draw
from tests.tiny_network import tiny_options
from tests.weights.foreign_files import numbered


@pytest.fixture(
    scope="module", params=["safetensors", pytest.param("onnx", marks=pytest.mark.system)]
)
def headless(
    request: pytest.FixtureRequest, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The small network as `import --partial` would write it, and what is exported of it."""
    folder = tmp_path_factory.mktemp("headless")
    metadata = dataclasses.replace(
        read_metadata(weights), initialized=["classifier.weight", "classifier.bias"]
    )
    save(folder / "a.safetensors", load_tensors(weights), metadata)
    if request.param == "safetensors":
        return folder / "a.safetensors"
    output = folder / "a.onnx"
    done = inceptcli("export", folder / "a.safetensors", "--to", "onnx", "--output", output)
    assert done.exit_code == 0, done.output
    assert [found.name for found in onnx.load(output).graph.output] == ["features"]
    return output


def test_predict_gives_embeddings_and_names_no_class(headless: Path, tmp_path: Path) -> None:
    pictures = [draw(tmp_path / f"{number}.png", number) for number in range(3)]
    (tmp_path / "not.png").write_text("not an image")
    command = ("predict", tmp_path, "--weights", headless, "--device", "cpu")
    no_answers = f"{headless}: has no trained classifier and names no classes"
    check_one_line(inceptcli(*command), 2, f"{no_answers}; use --embeddings FILE")
    part = ("--shard", "0/2", "--output", tmp_path / "parts")
    check_one_line(inceptcli(*command, *part), 2, no_answers)
    page = ("--embeddings", tmp_path / "a.npy", "--gallery", tmp_path / "a.html")
    check_one_line(inceptcli(*command, *page), 2, f"--gallery: {no_answers}")
    flags = ("--embeddings", tmp_path / "a.npy", "--format")
    done = inceptcli(*command, *flags, "json")
    assert done.exit_code == 1
    assert f"{no_answers}: writing embeddings only" in done.stderr
    rows = json.loads(done.stdout)
    assert [row["predictions"] for row in rows] == [[]] * 4
    assert [row["error"] is None for row in rows] == [True] * 3 + [False]
    network, metadata = load_network(headless.with_name("a.safetensors"))
    embeddings = np.load(tmp_path / "a.npy")
    assert embeddings.shape == (3, network.num_features)
    assert metadata.preprocessing.image_size == (75, 75)
    assert np.ptp(embeddings, axis=0).max() > 1e-3
    table = list(csv.DictReader(inceptcli(*command, *flags, "csv").stdout.splitlines()))
    assert [row["path"] for row in table] == [*map(str, pictures), str(tmp_path / "not.png")]
    assert {row["class"] for row in table} == {""}


def test_both_files_give_the_same_embeddings(headless: Path, tmp_path: Path) -> None:
    picture = draw(tmp_path / "a.png", 1)
    for name, file in (("one.npy", headless), ("two.npy", headless.with_name("a.safetensors"))):
        flags = ("--embeddings", tmp_path / name, "--device", "cpu")
        assert inceptcli("predict", picture, "--weights", file, *flags).exit_code == 0
    np.testing.assert_allclose(
        np.load(tmp_path / "one.npy"), np.load(tmp_path / "two.npy"), rtol=1e-3, atol=1e-5
    )


def test_eval_measures_nothing_and_an_ensemble_is_refused(headless: Path, tmp_path: Path) -> None:
    draw(tmp_path / "n0" / "a.png", 0)
    done = inceptcli("eval", headless, "--data", tmp_path)
    check_one_line(done, 2, "has no trained classifier, only embeddings")
    two = ("--weights", headless, "--weights", headless)
    check_one_line(inceptcli("predict", tmp_path, *two), 2, "has no trained classifier, so it")


def test_an_imported_file_without_a_classifier_says_so(tmp_path: Path) -> None:
    tensors = numbered(INCEPTION_V4)
    del tensors["last_linear.weight"], tensors["last_linear.bias"]
    torch.save(tensors, tmp_path / "a.pth")
    output = tmp_path / "ours.safetensors"
    done = inceptcli("import", tmp_path / "a.pth", "--output", output, "--partial")
    assert "the source has no classifier: the file supports embeddings only" in done.stderr
    assert "it supports embeddings only" in inceptcli("summarize", output).stdout
    check_one_line(inceptcli("predict", "a.png", "--weights", output), 2, "names no classes")


@pytest.mark.system
@pytest.mark.parametrize("opset", [18, 20, 21])
def test_an_export_has_the_opset_that_was_asked_for(
    opset: int, weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a.onnx"
    command = ("export", weights, "--to", "onnx", "--output", output)
    done = inceptcli(*command, *(("--opset", opset) if opset != 20 else ()))
    assert done.exit_code == 0, done.output
    model = onnx.load(output)
    assert next(entry.version for entry in model.opset_import if not entry.domain) == opset
    least = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    assert model.ir_version == least


def test_opset_is_for_onnx(weights: Path, tmp_path: Path) -> None:
    command = ("export", weights, "--to", "timm", "--output", tmp_path / "a.safetensors")
    check_one_line(inceptcli(*command, "--opset", "18"), 2, "--opset 18 needs --to onnx")


@pytest.mark.system
def test_an_export_to_timm_has_no_classifier(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    options = network_options("iv4-tf", num_classes=1)
    torch.manual_seed(0)
    network = build(options)
    metadata = WeightsMetadata(
        options,
        (ClassName("0", "class 0"),),
        Preprocessing((96, 96)),
        initialized=["classifier.weight", "classifier.bias"],
        unnamed=True,
    )
    source, output = tmp_path / "a.safetensors", tmp_path / "timm.safetensors"
    save(source, network.state_dict(), metadata)
    done = inceptcli("export", source, "--to", "timm", "--output", output)
    assert done.exit_code == 0, done.output
    tensors = load_file(output)
    assert not any(key.startswith("last_linear") for key in tensors)
    model = timm.create_model("inception_v4", num_classes=0)
    model.load_state_dict(tensors)
    images = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        *_, (_, features) = network.eval().forward_stages(images)
        torch.testing.assert_close(
            model.eval()(images), features.mean((2, 3)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", ["my weights.pth", "model.safetensors", "model.weights.h5"])
def test_foreign_weights_name_the_command_that_reads_them(name: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / name
    if name.endswith(".pth"):
        torch.save({"a": torch.zeros(1)}, path)
    elif name.endswith(".h5"):
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    else:
        save_file({"a": torch.zeros(1)}, path)
    for command in (
        ("predict", "a.png", "--weights", path),
        ("eval", path, "--data", tmp_path),
        ("train", "--init", path, "--output", tmp_path / "run"),
        ("summarize", path),
    ):
        check_one_line(inceptcli(*command), 1, "; convert it with inceptcli import ")


@pytest.mark.system
def test_a_face_network_as_onnx_gives_embeddings_of_length_1(tmp_path: Path) -> None:
    options = tiny_options("irv1-facenet", num_classes=1)
    torch.manual_seed(0)
    metadata = WeightsMetadata(
        options,
        (ClassName("0", "class 0"),),
        Preprocessing((75, 75)),
        initialized=["classifier.weight", "classifier.bias"],
        unnamed=True,
    )
    save(tmp_path / "face.safetensors", build(options).state_dict(), metadata)
    command = ("export", tmp_path / "face.safetensors", "--to", "onnx")
    for opset in (18, 20):
        onnx_file, rows = tmp_path / f"{opset}.onnx", tmp_path / f"{opset}.npy"
        done = inceptcli(*command, "--output", onnx_file, "--opset", opset)
        assert done.exit_code == 0, done.output
        picture = draw(tmp_path / "a.png", 1)
        done = inceptcli("predict", picture, "--weights", onnx_file, "--embeddings", rows)
        assert (done.exit_code, "names no classes: writing embeddings only" in done.stderr) == (
            0,
            True,
        )
        assert np.load(rows).shape == (1, 128)
        assert abs(np.linalg.norm(np.load(rows)) - 1) < 1e-4
