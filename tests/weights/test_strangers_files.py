"""Weights files of strangers: nothing beside them is read, and nothing in them runs for ever."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import NETWORKS, build, network_options
from inceptcli.weights.file import save
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.cli.conftest import check_one_line, inceptcli, picture
from tests.tiny_network import tiny_options

SECRET = b"a secret that is long enough to be taken for numbers"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("secret").write_bytes(SECRET)
    picture(Path("a.png"), 0)
    return tmp_path


@pytest.mark.parametrize("kind", ["storage", "link", "virtual", "huge"])
def test_hdf5_datasets_outside_the_file_are_not_read(kind: str) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File("other.h5", "w") as other:
        other["d"] = np.frombuffer(SECRET[:48], np.float32)
    with h5py.File("a.weights.h5", "w") as file:
        group = file.create_group("layers/dense/vars")
        if kind == "storage":
            group.create_dataset("0", (12,), np.float32, external=[("secret", 0, 48)])
        elif kind == "link":
            group["0"] = h5py.ExternalLink("other.h5", "/d")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((12,), np.float32)
            layout[:] = h5py.VirtualSource("other.h5", "d", (12,))
            group.create_virtual_dataset("0", layout)
        else:  # takes no room in the file
            group.create_dataset("0", (2**40,), np.float32, chunks=(2**20,))
    said = "over 1073741824 bytes" if kind == "huge" else "is in another file"
    check_one_line(inceptcli("import", "a.weights.h5", "--output", "out.safetensors"), 1, said)
    assert not Path("out.safetensors").exists()


def onnx_file(
    *nodes: onnx.NodeProto, tensors: tuple[TensorProto, ...] = (), classes: int = 6
) -> Path:
    """A file of three channels' means by ReduceMean and Gemm, and with metadata of ours."""
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", None, None, None])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    plain = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
        helper.make_node("Gemm", ["means", "w"], ["logits"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("w", TensorProto.FLOAT, [3, classes], range(3 * classes)),
    ]
    constants = [tensor for tensor in constants if tensor.name not in {t.name for t in tensors}]
    graph = helper.make_graph([*nodes, *plain], "g", [images], [logits], [*constants, *tensors])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = network_options("irv1", num_classes=6)
    names = tuple(ClassName(str(number), str(number)) for number in range(6))
    metadata = WeightsMetadata(options, names, Preprocessing((75, 75)))
    helper.set_model_props(model, metadata.to_header())
    onnx.save(model, "a.onnx")
    return Path("a.onnx")


def test_a_graph_of_plain_operators_answers() -> None:
    onnx_file()
    done = inceptcli("predict", "a.png", "--weights", "a.onnx", "--device", "cpu")
    assert done.exit_code == 0, done.output


def endless_loop() -> onnx.NodeProto:
    condition = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in "cd"]
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])], "body", [count, condition[0]], condition[1:]
    )
    return helper.make_node("Loop", ["", ""], [], body=body)


def external() -> TensorProto:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [3, 6], range(18))
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "secret"), ("offset", "0"), ("length", "72")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def grown(*nodes: onnx.NodeProto, **constants: object) -> Path:
    """A graph that computes with more besides, from constants such as `a=np.zeros(3)`."""
    tensors = tuple(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    return onnx_file(*nodes, tensors=tensors)


def doubled(times: int) -> list[onnx.NodeProto]:
    names = ["images", *(f"x{number}" for number in range(times))]
    return [
        helper.make_node("Cast", ["images"], ["y"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["y", "y"], ["x0"], axis=1),
        *(helper.make_node("Concat", [x] * 2, [y], axis=1) for x, y in pairwise(names[1:])),
    ]


def with_tail(tail: bytes) -> Path:
    path = onnx_file()
    path.write_bytes(path.read_bytes() + tail)
    return path


ONE, LARGE = np.ones(1, np.float32), np.zeros((60_000, 1), np.float32)
PADS = [30_000] * 4
ASKING: dict[str, Callable[[], object]] = {
    "x, made by Expand, has shape 3000000000, over 1228576 values": lambda: grown(
        helper.make_node("Expand", ["a", "s"], ["x"]), a=ONE, s=np.array([3 * 10**9])
    ),
    "x, made by Add, has shape 60000x60000, over": lambda: grown(
        helper.make_node("Add", ["a", "b"], ["x"]), a=LARGE, b=LARGE.T
    ),
    "y, made by DequantizeLinear, has shape 2000000, over": lambda: grown(
        *(helper.make_node("DequantizeLinear", ["a", "s"], [name]) for name in "xy"),
        a=np.zeros(2_000_000, np.int8),
        s=np.float32(1),
    ),
    "x, made by Gemm, has shape 60000x60000, over": lambda: grown(
        helper.make_node("Gemm", ["a", "b"], ["x"]), a=LARGE, b=LARGE.T
    ),
    "x, made by Conv, has shape 1x1x60075x60075, over": lambda: grown(
        helper.make_node("Cast", ["images"], ["y"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["y"], ["z"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["z", "a"], ["x"], pads=PADS), a=np.ones((1, 3, 1, 1), np.float32)
    ),
    "x6, made by Concat, has shape 1x9600x75x3, over": lambda: grown(*doubled(18)),
    "1.1e+13 multiply-adds per image, over 1.2e+10": lambda: grown(
        *(helper.make_node("Gemm", ["a", "a"], [f"x{number}"]) for number in range(9_999 - 3)),
        a=np.zeros((1024, 1024), np.float32)
    ),
    "its network has over 10000 nodes": lambda: grown(
        *(helper.make_node("Relu", ["a"], [f"x{number}"]) for number in range(10_000)), a=ONE
    ),
    "x, made by Div, has a type that exported networks do not use": lambda: grown(
        helper.make_node("Div", ["a", "b"], ["x"]), a=np.array([-(2**63)]), b=np.array([-1])
    ),
    "x, made by Cast, has a type": lambda: grown(
        helper.make_node("Cast", ["images"], ["x"], to=TensorProto.STRING)
    ),
    "s, made by Shape, has a type that exported networks do not use": lambda: grown(
        helper.make_node("Shape", ["a"], ["s"]), helper.make_node("Expand", ["a", "s"], ["x"]),
        a=ONE,
    ),
    "it is a damaged or truncated ONNX file": lambda: with_tail(bytes(1000)),
    "damaged or truncated ONNX file": lambda: with_tail(b"\x78\0" * 300_000),
}  # fmt: skip


@pytest.mark.parametrize("said", ASKING)
def test_a_graph_that_asks_for_more_than_ours_is_refused_before_it_is_run(said: str) -> None:
    ASKING[said]()
    done = inceptcli("predict", "a.png", "--weights", "a.onnx", "--device", "cpu", "--quiet")
    check_one_line(done, 1, said)
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("content", ["zeros", "metadata"])
def test_a_hole_of_gigabytes_is_no_onnx_file(content: str, place: Path) -> None:
    with (place / "a.onnx").open("wb") as file:
        file.write(b"\x08\x0a" if content == "zeros" else b"\x08\x0a\x72\x80\x80\x80\x80\x18")
        file.truncate((6 << 30) + file.tell())
    done = inceptcli("predict", "a.png", "--weights", "a.onnx", "--device", "cpu", "--quiet")
    check_one_line(done, 1, "a.onnx: not an inceptcli weights file: it")


def constant() -> onnx.NodeProto:
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [1])
    return helper.make_node("Cast", ["images"], ["x"], to=1, value=value)


REFUSED: dict[str, Callable[[], object]] = {
    "its operator Loop is not used by exported networks": lambda: onnx_file(endless_loop()),
    "its operator Scan": lambda: onnx_file(helper.make_node("Scan", [], ["x"])),
    "outside ONNX's default domain": lambda: onnx_file(
        helper.make_node("Cast", ["images"], ["x"], domain="a.b")
    ),
    "a node contains a tensor or a graph": lambda: onnx_file(constant()),
    "its tensors are in another file": lambda: onnx_file(tensors=(external(),)),
    "its logits must be float32 of (1, 6), got float32 of (1, 5)": lambda: onnx_file(classes=5),
    "the shapes in its network are unknown": lambda: onnx_file(
        tensors=(helper.make_tensor("w", TensorProto.FLOAT, [4, 6], range(24)),)
    ),
}


@pytest.mark.parametrize("said", REFUSED)
def test_a_graph_that_is_not_ours_is_refused_in_one_line(said: str) -> None:
    REFUSED[said]()
    done = inceptcli("predict", "a.png", "--weights", "a.onnx", "--device", "cpu", "--quiet")
    check_one_line(done, 1, said)


@pytest.mark.system
@pytest.mark.parametrize("name", NETWORKS)
def test_the_operators_of_every_exported_network_are_run(name: str) -> None:
    options = tiny_options(name, num_classes=3)
    classes = tuple(ClassName(key, key) for key in ("n0", "n1", "n2"))
    save(
        Path("w.safetensors"),
        build(options).state_dict(),
        WeightsMetadata(options, classes, Preprocessing((139, 139))),
    )
    done = inceptcli("export", "w.safetensors", "--to", "onnx", "--output", "w.onnx")
    assert done.exit_code == 0, done.output
    answer = inceptcli("predict", "a.png", "--weights", "w.onnx", "--format", "json")
    assert answer.exit_code == 0, answer.output
