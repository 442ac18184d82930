from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import load_external_data_for_model

from inceptcli.errors import UserError
from inceptcli.weights.file import load_tensors, read_metadata
from inceptcli.weights.onnx_file import SMALLEST_TENSOR, is_onnx, read_onnx_header, without_tensors


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Somebody else's ONNX file with one node, 1,000 bytes of tensor and two entries."""
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, [1000]) for name in "xy"]
    tensor = helper.make_tensor("t", TensorProto.UINT8, [1000], bytes(1000), raw=True)
    nodes = [helper.make_node("Add", ["x", "t"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [tensor]))
    helper.set_model_props(model, {"författare": "någon", "long": "o" * 300})
    path = tmp_path / "foreign.onnx"
    onnx.save(model, path)
    return path


def test_the_metadata_is_what_onnx_reads(foreign: Path) -> None:
    assert read_onnx_header(foreign) == {"författare": "någon", "long": "o" * 300}


def test_an_onnx_file_is_told_by_its_content(foreign: Path, tmp_path: Path) -> None:
    assert is_onnx(foreign.rename(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x08", b"\x08\x01\x00\x00\x00\x00\x00\x00{}", b"PK\x03\x04", b"version https://git"],
)
def test_other_files_are_no_onnx_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert is_onnx(path) == (content == b"\x08")


def test_a_file_that_this_program_did_not_write_is_refused(foreign: Path) -> None:
    with pytest.raises(UserError, match=r"foreign\.onnx: not an inceptcli .* not written by"):
        read_metadata(foreign)


@pytest.mark.parametrize("size", [1, 2, 20, 500, 1100, -1])
def test_a_file_that_is_cut_short_is_refused(size: int, foreign: Path) -> None:
    foreign.write_bytes(foreign.read_bytes()[:size])
    with pytest.raises(UserError, match=r"damaged|without a network"):
        read_metadata(foreign)


@pytest.mark.parametrize(
    "tail",
    [b"\x72\xff\xff\xff\xff\x7f", b"\x75\x00", b"\x72\x02\x0a\x7f", b"\xff" * 11, b"\x72\x01"],
    ids=["length", "kind", "length within an entry", "number without end", "entry cut short"],
)
def test_lengths_and_kinds_that_make_no_sense_are_refused(tail: bytes, foreign: Path) -> None:
    foreign.write_bytes(foreign.read_bytes() + tail)
    with pytest.raises(UserError, match="it is a damaged or truncated ONNX file"):
        read_metadata(foreign)


def test_an_onnx_file_has_no_tensors_to_train_on(foreign: Path) -> None:
    with pytest.raises(UserError, match="it is an ONNX file, which can be run but not trained"):
        load_tensors(foreign)


def test_a_model_without_its_tensors_has_them_in_the_file(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, [1]) for name in "xy"]
    sizes = {"small": SMALLEST_TENSOR - 1, "large": SMALLEST_TENSOR, "larger": 70_000}
    random = np.random.default_rng(0)
    tensors = [
        helper.make_tensor(name, TensorProto.UINT8, [size], random.bytes(size), raw=True)
        for name, size in sizes.items()
    ]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", ends[:1], ends[1:])
    graph.initializer.extend(tensors)
    model = helper.make_model(graph)
    helper.set_model_props(model, {"name": "value"})
    onnx.save(model, tmp_path / "model.onnx")

    content = without_tensors(tmp_path / "model.onnx", "model.onnx")
    assert len(content) < 2 * SMALLEST_TENSOR
    found = onnx.load_model_from_string(content)
    places = [entry.data_location == TensorProto.EXTERNAL for entry in found.graph.initializer]
    assert places == [False, True, True]
    load_external_data_for_model(found, str(tmp_path))
    for entry in found.graph.initializer:  # what onnx leaves behind when it has read them
        del entry.external_data[:]
        entry.ClearField("data_location")
    for entry in model.graph.initializer:
        entry.ClearField("data_location")
    del model.metadata_props[:]  # nobody who runs the network reads it
    assert found == model
