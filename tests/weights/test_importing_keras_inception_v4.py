"""The community's Inception-v4 in Keras: both authors' files, archives, nested models."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.weights.file import load_network, load_tensors, read_metadata
from inceptcli.weights.foreign.importing import convert
from inceptcli.weights.keys import keras_keys
from tests.cli.conftest import check_one_line, inceptcli
from tests.photographs import photographs
from tests.weights.parity import CLASSES, assert_same, batch, difference

pytestmark = [
    pytest.mark.parity,
    pytest.mark.system,
    pytest.mark.skipif(find_spec("keras") is None, reason="keras is not installed"),
]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `keras_inception_v4` leaves."""
    folder = tmp_path_factory.mktemp("keras")
    for name, count in (("train", 4), ("299x299", 3)):
        images = batch(photographs(count), Preprocessing((299, 299)), (299, 299))
        np.save(folder / name, images.permute(0, 2, 3, 1).numpy())
    done = subprocess.run(
        [sys.executable, "-m", "tests.weights.keras_inception_v4", str(folder)],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "KERAS_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    convert(folder / "v4.weights.h5", folder / "v4.safetensors")
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Tensor]:
    return load_tensors(folder / "v4.safetensors")


def assert_trunk(path: Path, expected: dict[str, Tensor]) -> None:
    for key, tensor in load_tensors(path).items():
        if not key.startswith("classifier."):
            assert torch.equal(tensor, expected[key]), key


def test_weights_of_keras_give_its_logits(folder: Path) -> None:
    network, metadata = load_network(folder / "v4.safetensors")
    assert metadata.source["family"] == keras_keys.INCEPTION_V4.family
    assert metadata.preprocessing == Preprocessing((299, 299), "squash", 0.875, "bilinear")
    with torch.no_grad():
        images = torch.from_numpy(np.load(folder / "299x299.npy"))
        logits = network(images.permute(0, 3, 1, 2))
    expected = torch.from_numpy(np.load(folder / "v4-logits.npy"))
    print(f"Keras 299x299: {difference(logits, expected):.2g}")
    assert_same(logits, expected)


def natural(name: str) -> list[int | str]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def community_file(path: Path, model: Path, is_keras_1: bool, backend: str = "") -> Path:
    """The weights alone of a whole model, with the names of Keras 1 or 2; channels first in `th`.

    The author of the Keras 2 file sorted `model.layers` by name before he saved it.
    """
    h5py = pytest.importorskip("h5py")
    kinds = {"conv2d": "convolution2d", "batch_normalization": "batchnormalization"}
    parts = {"kernel": "W", "bias": "b", "moving_mean": "running_mean"}
    parts["moving_variance"] = "running_std"
    with h5py.File(model) as file, h5py.File(path, "w") as old:
        layers = {}
        for layer in file["model_weights"].attrs["layer_names"]:
            group = file["model_weights"][layer]
            kind, number = re.fullmatch(r"(.*?)(?:_(\d+))?", layer).groups()  # type: ignore[union-attr]
            name = f"{kinds.get(kind, kind) if is_keras_1 else kind}_{int(number or 0) + 1}"
            weights: dict[str, Any] = {}
            for weight in group.attrs["weight_names"]:
                part, value = weight.rpartition("/")[2], group[weight][()]
                if is_keras_1 and part == "beta":
                    weights[f"{name}_gamma:0"] = np.ones_like(value)
                if value.ndim == 4 and "_th_kernels" in path.name:
                    value = value[::-1, ::-1]
                if value.ndim == 4 and "th_dim" in path.name:
                    value = value.transpose(3, 2, 0, 1)
                key = f"{name}_{parts.get(part, part)}" if is_keras_1 else f"{name}/{part}"
                weights[f"{key}:0"] = value
            layers[name] = weights
        names = list(layers) if is_keras_1 else sorted(layers, key=natural)
        old.attrs["layer_names"] = [name.encode() for name in names]
        if backend:
            old.attrs["backend"] = backend.encode()
        for name in names:
            group = old.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in layers[name]]
            for weight, value in layers[name].items():
                group[weight] = value
    return path


@pytest.mark.parametrize(
    ("name", "is_keras_1", "backend"),
    [
        ("inception-v4_weights_tf_dim_ordering_tf_kernels.h5", False, "tensorflow"),
        ("inception_v4_with_kernels.h5", False, "tensorflow"),
        ("inception_v4_weights_tf_dim_ordering_tf_kernels.h5", True, ""),
        ("inception_v4_weights_th_dim_ordering_th_kernels.h5", True, ""),
    ],
    ids=["kentsommer", "a name like Theano's", "titu1994", "titu1994 for Theano"],
)
def test_the_communitys_files_hold_the_same_tensors(
    name: str,
    is_keras_1: bool,
    backend: str,
    folder: Path,
    expected: dict[str, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    community_file(Path(name), folder / "v4.h5", is_keras_1, backend)
    done = inceptcli("import", name, "--output", "a.safetensors")
    assert done.exit_code == 0, done.output
    assert f"{name}: Keras, Inception-v4, {CLASSES} classes" in done.stderr
    assert ("rotated the kernels by 180 degrees" in done.stderr) == ("_th_kernels" in name)
    found = load_tensors(Path("a.safetensors"))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    if is_keras_1:
        Path(name).rename("weights.h5")
        done = inceptcli("import", "weights.h5", "--output", "b.safetensors")
        said = "end the file name in _tf_kernels.h5 or _th_kernels.h5"
        check_one_line(done, 1, f"which are rotated; {said}")


@pytest.mark.parametrize("name", ["nested.keras", "nested.h5", "nested.weights.h5"])
def test_a_base_in_another_model_is_found_and_its_preprocessing_told(
    name: str, folder: Path, expected: dict[str, Tensor], tmp_path: Path
) -> None:
    output = tmp_path / "a.safetensors"
    done = inceptcli("import", folder / name, "--output", output)
    assert done.exit_code == 0, done.output
    assert_trunk(output, expected)
    metadata = read_metadata(output)
    assert metadata.network.num_classes == 3
    if name == "nested.weights.h5":  # says nothing of itself
        assert metadata.preprocessing == keras_keys.INCEPTION_V4.preprocessing
        return
    view = Preprocessing((224, 224), "squash", 0.875, "bilinear", (0.0,) * 3, (1.0,) * 3)
    assert metadata.preprocessing == view
    said = f"from the layers of {folder / name}: images of 224x224, mean 0, std 1"
    assert said in done.stderr.splitlines()
    done = inceptcli("import", folder / name, "--output", output, "--mean", "0.5", "--std", "0.25")
    assert done.exit_code == 0, done.output
    assert read_metadata(output).preprocessing.std == (0.25,) * 3
