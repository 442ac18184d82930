from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from inceptcli.networks.onnx_graph import OPSET
from inceptcli.weights.file import read_metadata


@pytest.fixture(scope="module")
def model(onnx_weights: Path) -> onnx.ModelProto:
    loaded = onnx.load(onnx_weights, load_external_data=False)
    onnx.checker.check_model(loaded, full_check=True)
    return loaded


def shape_of(value: onnx.ValueInfoProto) -> list[object]:
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


def test_pixels_of_any_number_of_pictures_go_in_and_logits_come_out(model: onnx.ModelProto) -> None:
    (images,), (logits, features) = model.graph.input, model.graph.output
    assert (images.name, shape_of(images)) == ("images", ["batch", 75, 75, 3])
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert (logits.name, shape_of(logits)) == ("logits", ["batch", 6])
    assert logits.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert (features.name, shape_of(features)) == ("features", ["batch", 1792])


def test_the_opset_is_the_named_one_and_batch_norm_is_folded(model: onnx.ModelProto) -> None:
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    kinds = {node.op_type for node in model.graph.node}
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds
    assert {"stem.0", "inception_a.0.twice.1", "classifier"} <= {n.name for n in model.graph.node}


def test_the_metadata_is_that_of_the_weights_file(weights: Path, onnx_weights: Path) -> None:
    assert read_metadata(onnx_weights) == read_metadata(weights)


def test_the_tensors_are_in_the_file_itself(model: onnx.ModelProto) -> None:
    assert len(model.graph.initializer) > 50
    places = {tensor.data_location for tensor in model.graph.initializer}
    assert places == {onnx.TensorProto.DEFAULT}


def test_the_file_has_no_paths_of_the_machine_that_wrote_it(onnx_weights: Path) -> None:
    content = onnx_weights.read_bytes()
    assert b"inceptcli" in content
    assert str(Path(__file__).parents[2]).encode() not in content
