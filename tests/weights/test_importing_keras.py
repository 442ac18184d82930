"""Keras's InceptionResNetV2, saved by a process that had built another one before."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UserError
from inceptcli.weights.file import load_network, load_tensors, read_metadata
from inceptcli.weights.foreign.importing import convert
from inceptcli.weights.keys import keras_keys
from tests.photographs import photographs
from tests.weights.parity import CLASSES, SIZES, assert_same, batch, difference

pytestmark = [
    pytest.mark.parity,
    pytest.mark.system,
    pytest.mark.skipif(find_spec("keras") is None, reason="keras is not installed"),
]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `keras_reference` leaves, and our two files."""
    folder = tmp_path_factory.mktemp("keras")
    preprocessing = Preprocessing((299, 299))
    images = batch(photographs(4), preprocessing, (299, 299))
    np.save(folder / "train", images.permute(0, 2, 3, 1).numpy())
    for height, width in SIZES:
        images = batch(photographs(3), preprocessing, (height, width))
        np.save(folder / f"{height}x{width}", images.permute(0, 2, 3, 1).numpy())
    done = subprocess.run(
        [sys.executable, "-m", "tests.weights.keras_reference", str(folder)],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "KERAS_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for source in ("keras.weights.h5", "keras.h5"):
        report = convert(folder / source, folder / f"{source}.safetensors")
        assert report.metadata.source["family"] == keras_keys.INCEPTION_RESNET_V2.family
        assert report.metadata.network.num_classes == CLASSES
    return folder


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_weights_of_keras_give_its_logits(folder: Path, size: tuple[int, int]) -> None:
    network, _ = load_network(folder / "keras.weights.h5.safetensors")
    name = "x".join(map(str, size))
    images = torch.from_numpy(np.load(folder / f"{name}.npy")).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = network(images)
    expected = torch.from_numpy(np.load(folder / f"logits-{name}.npy"))
    print(f"Keras {name}: {difference(logits, expected):.2g}")
    assert_same(logits, expected)


def test_the_whole_model_holds_the_same_tensors(folder: Path) -> None:
    weights = load_tensors(folder / "keras.weights.h5.safetensors")
    model = load_tensors(folder / "keras.h5.safetensors")
    assert list(weights) == list(model)
    assert all(torch.equal(weights[key], model[key]) for key in weights)
    assert float(weights["stem.0.batch_norm.weight"].min()) == 1.0
    assert read_metadata(folder / "keras.h5.safetensors").preprocessing.resize == "squash"


def test_weights_alone_as_keras_2_wrote_them_are_read(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "keras.h5") as model, h5py.File(folder / "old.h5", "w") as old:
        weights = model["model_weights"]
        old.attrs["layer_names"] = weights.attrs["layer_names"]
        for name in weights:
            weights.copy(name, old)
    convert(folder / "old.h5", folder / "old.safetensors")
    found = load_tensors(folder / "old.safetensors")
    expected = load_tensors(folder / "keras.h5.safetensors")
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_missing_layer_and_a_missing_classifier_are_told_apart(folder: Path) -> None:
    import h5py

    for layer in ("conv2d_100", "dense"):
        path = folder / f"no_{layer}.weights.h5"
        path.write_bytes((folder / "keras.weights.h5").read_bytes())
        with h5py.File(path, "r+") as file:
            del file["layers"][layer]
    with pytest.raises(UserError, match=r"another Keras network: 243 convolutions, 204 batch"):
        convert(folder / "no_conv2d_100.weights.h5", folder / "no.safetensors", partial=True)
    with pytest.raises(UserError, match=r"2 missing: predictions.weight, predictions.bias"):
        convert(folder / "no_dense.weights.h5", folder / "no.safetensors")
    assert not (folder / "no.safetensors").exists()
    report = convert(folder / "no_dense.weights.h5", folder / "no.safetensors", partial=True)
    assert report.metadata.initialized == ["classifier.weight", "classifier.bias"]
    assert report.metadata.network.num_classes == 1
