"""Keras files without Keras: what a model says of itself, orders of layers, hostile archives."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inceptcli.networks.registry import network_options
from inceptcli.weights.file import read_metadata
from inceptcli.weights.foreign.importing import imported
from inceptcli.weights.formats.keras_config import parse_keras_config
from inceptcli.weights.formats.keras_file import read_keras_file
from inceptcli.weights.keys.key_table import layout
from tests.cli.conftest import check_one_line, inceptcli

h5py = pytest.importorskip("h5py")

TENSOR = {"class_name": "__keras_tensor__"}


def layer(kind: str, *operands: Any, **config: Any) -> dict[str, Any]:
    config = {"name": kind.lower(), **config}
    nodes = [{"args": [TENSOR, *operands], "kwargs": {}}] if operands else []
    return {"class_name": kind, "config": config, "inbound_nodes": nodes}


def keras_2(function: str, operand: float) -> dict[str, Any]:
    node = ["input_1", 0, 0, {"y": operand, "name": None}]
    return {**layer("TFOpLambda", function=function), "inbound_nodes": [node]}


def model(*layers: dict[str, Any]) -> str:
    whole = {"class_name": "Functional", "config": {"name": "outer", "layers": list(layers)}}
    return json.dumps(whole)


BASE = layer("Functional", layers=[
    layer("InputLayer", batch_shape=[None, 299, 299, 3]), layer("Conv2D"),
    layer("Rescaling", scale=9),
])  # fmt: skip
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SIZE = {"image_size": (299, 299)}
SAID: dict[str, tuple[list[dict[str, Any]], dict[str, Any], list[str]]] = {
    "nothing": ([BASE], SIZE, []),
    "scaled to -1 and 1": ([layer("Rescaling", scale=1 / 127.5, offset=-1), BASE], SIZE | HALF, []),
    "by operators": ([layer("TrueDivide", 127.5), layer("Subtract", 1), BASE], SIZE | HALF, []),
    "by operators of Keras 2": (
        [keras_2("math.truediv", 127.5), keras_2("math.subtract", 1.0), BASE], SIZE | HALF, []
    ),
    "by others of Keras 2": ([keras_2("math.pow", 2.0), BASE], SIZE, ["tfoplambda"]),
    "twice": ([layer("Rescaling", scale=1 / 255), layer("Rescaling", scale=2, offset=-1), BASE],
              SIZE | HALF, []),
    "by channels": ([layer("Rescaling", scale=[1 / 255 / std for std in IMAGENET["std"]],
                           offset=[-m / s for m, s in zip(*IMAGENET.values(), strict=True)]), BASE],
                    SIZE | IMAGENET, []),
    "by others": ([layer("Lambda"), layer("Multiply", "x"), BASE], SIZE, ["lambda", "multiply"]),
    "by nothing": ([layer("TrueDivide", 0), BASE], SIZE, ["truedivide"]),
    "upside down": ([layer("Rescaling", scale=-1), BASE], SIZE, ["Rescaling"]),
    "of any size": ([layer("InputLayer", batch_shape=[None, None, None, 3]),
                     layer("Resizing", height=160, width=192), layer("Conv2D")],
                    {"image_size": (160, 192)}, []),
    "of Keras 2": ([layer("InputLayer", batch_input_shape=[None, 3, 96, 128]), layer("Conv2D")],
                   {"image_size": (96, 128)}, []),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_a_model_says_how_it_prepares_images(case: str) -> None:
    layers, preprocessing, unread = SAID[case]
    found = parse_keras_config(model(*layers))
    assert found.preprocessing == preprocessing
    assert found.unread == unread


def test_layers_are_listed_in_order_and_a_list_is_a_model_too() -> None:
    nested = {"class_name": "Sequential", "config": [layer("A"), layer("B")]}
    assert parse_keras_config(model(layer("C"), nested, layer("D"))).order == ["c", "a", "b", "d"]
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_keras_config("[" * 100_000)


def natural(name: str) -> list[int | str]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def sorted_by_name(file: Any, num_classes: int = 4) -> None:
    """Inception-v4 as kentsommer saved it; convolution n and its batch norm are full of n."""
    shapes = {
        key.removesuffix(".conv.weight"): value.shape
        for key, value in layout(network_options("iv4-tf")).items()
        if value.ndim == 4
    }
    layers: dict[str, dict[str, Any]] = {}
    for number, (out, entering, height, width) in enumerate(shapes.values(), 1):
        layers[f"conv2d_{number}"] = {"kernel": (height, width, entering, out)}
        parts = dict.fromkeys(("beta", "moving_mean", "moving_variance"), (out,))
        layers[f"batch_normalization_{number}"] = parts
    layers["dense_1"] = {"kernel": (1536, num_classes), "bias": (num_classes,)}
    file.attrs["layer_names"] = [name.encode() for name in sorted(layers, key=natural)]
    for name, parts in layers.items():
        group = file.create_group(name)
        group.attrs["weight_names"] = [f"{name}/{part}:0".encode() for part in parts]
        for part, shape in parts.items():
            number = int(name.rpartition("_")[2])
            # Takes no room in the file.
            group.create_dataset(f"{name}/{part}:0", shape, "f4", chunks=shape, fillvalue=number)


def test_layers_in_the_order_in_which_they_were_made_are_matched(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        sorted_by_name(file)
    found = imported(tmp_path / "a.h5")
    assert (found.metadata.network.name, found.metadata.network.num_classes) == ("iv4-tf", 4)
    units = [key for key, value in found.tensors.items() if value.ndim == 4]
    assert len(units) == 149
    for number, key in enumerate(units, 1):
        norm = key.replace("conv.weight", "batch_norm.running_var")
        assert (found.tensors[key] == number).all()
        assert (found.tensors[norm] == number).all()


def archive(name: str, config: str, write: Callable[[Any], None] | None) -> str:
    weights = BytesIO()
    if write is not None:
        with h5py.File(weights, "w") as file:
            write(file)
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as whole:
        whole.writestr("metadata.json", "{}")
        whole.writestr("config.json", config)
        whole.writestr("model.weights.h5", weights.getvalue() or b"no HDF5")
    return name


def test_pixel_values_that_are_changed_in_an_unknown_way_are_not_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    archive("a.keras", model(layer("Lambda"), BASE), sorted_by_name)
    command = ("import", "a.keras", "--output", "a.safetensors")
    done = inceptcli(*command, "--mean", "0.5")
    said = "way (lambda); set the preprocessing with --mean and --std"
    check_one_line(done, 1, f"change pixel values in an unsupported {said}")
    done = inceptcli(*command, "--mean", "0.5", "--std", "0.5")
    assert done.exit_code == 0, done.output
    assert "from the layers of a.keras: images of 299x299" in done.stderr.splitlines()
    done = inceptcli("predict", "a.png", "--weights", "a.keras")
    check_one_line(done, done.exit_code, "it is a Keras file; convert it with inceptcli import")


def cycle(file: Any) -> None:
    file["layers/a/vars/0"] = np.zeros((2, 2, 2, 2), "f4")
    file["layers/a/again"] = file["layers"]


def with_layers(name: str, *layers: dict[str, Any]) -> str:
    return archive(name, model(BASE, *layers), sorted_by_name)


def test_what_a_model_computes_otherwise_is_kept_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    valid = {"strides": [2, 2], "padding": "valid"}
    norm = layer("BatchNormalization", epsilon=1e-5)
    with_layers("a.keras", layer("Conv2D", **{**valid, "name": "conv2d_1"}), norm)
    command = ("import", "a.keras", "--output", "a.safetensors")
    done = inceptcli(*command)
    assert done.exit_code == 0, done.output
    assert read_metadata(Path("a.safetensors")).network.batch_norm_eps == 1e-5
    with_layers("a.keras", layer("Conv2D", strides=[1, 1], padding="same", name="conv2d_1"))
    said = "conv2d_1 has strides [1, 1] and padding same, but Keras, Inception-v4 has [2, 2] and"
    check_one_line(inceptcli(*command), 1, f"looks like another Keras network: {said} valid")
    with_layers("a.keras", norm, layer("BatchNormalization", epsilon=1e-3))
    check_one_line(inceptcli(*command), 1, "its batch norms have several epsilons: [1e-05, 0.001]")


HOSTILE: dict[str, Callable[[], object]] = {
    "0 convolutions, 0 batch norms": lambda: archive("a.keras", model(), lambda file: None),
    "1 convolutions, 0 batch norms": lambda: archive("a.keras", model(), cycle),
    "not a Keras weights file: Expecting value": lambda: archive("a.keras", "", lambda file: None),
    "its config.json has over 67108864 bytes": lambda: archive(
        "a.keras", " " * (2**26 + 1), lambda file: None
    ),
    "nested too deeply": lambda: archive("a.keras", "[" * 10**5, lambda file: None),
    "not a Keras weights file: Unable to": lambda: archive("a.keras", "{}", None),
    "damaged or incomplete archive": lambda: Path(archive("a.keras", "{}", cycle)).write_bytes(
        Path("a.keras").read_bytes()[:-30]
    ),
}


@pytest.mark.parametrize("said", HOSTILE)
def test_an_archive_that_is_no_network_is_refused_in_one_line(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    HOSTILE[said]()
    check_one_line(inceptcli("import", "a.keras", "--output", "a.safetensors"), 1, said)
    assert not Path("a.safetensors").exists()


def test_weights_that_claim_more_than_a_network_has_are_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("inceptcli.weights.formats.keras_file.MAXIMUM_OVERHEAD", 50)
    monkeypatch.setattr("inceptcli.weights.formats.keras_file.MAXIMUM_BYTES", 50)
    archive("a.keras", "{}", cycle)
    done = inceptcli("import", "a.keras", "--output", "a.safetensors")
    check_one_line(done, 1, "its model.weights.h5 has over 100 bytes")


def test_frozen_layers_that_are_saved_last_stand_in_the_models_order(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["model_config"] = model(layer("Functional", layers=[layer("A"), layer("B")]))
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"functional"]
        for name in ("b", "a"):
            group[f"functional/{name}/kernel"] = np.zeros((1, 1, 3, 8), "f4")
        names = [b"b/kernel", b"a/kernel"]
        group["functional"].attrs["weight_names"] = names
    assert list(read_keras_file(tmp_path / "a.h5").tensors) == ["a.weight", "b.weight"]


@pytest.mark.parametrize("form", ["names", "numbers"])
def test_a_dataset_that_many_layers_have_is_not_read_for_ever(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("inceptcli.weights.formats.keras_file.MAXIMUM_BYTES", 1000)
    with h5py.File("a.h5", "w") as file:
        file["layers/a/vars/0"] = np.zeros(100, "f4")
        for number in range(1, 4):
            file[f"layers/a/vars/{number}"] = file["layers/a/vars/0"]
        if form == "names":
            file.attrs["layer_names"] = [b"layers"]
            file["layers"].attrs["weight_names"] = [b"a/vars/0"] * 4
    done = inceptcli("import", "a.h5", "--output", "a.safetensors")
    check_one_line(done, 1, "its layers have over 1000 bytes")
