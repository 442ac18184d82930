"""The ONNX graph of a description, run by ONNX Runtime with the torch module's parameters in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.boxes import Boxes, Description, Fork, Residual
from inceptcli.networks.network import Network
from inceptcli.networks.onnx_graph import IR_VERSIONS, OPSET, onnx_graph
from inceptcli.networks.registry import NETWORKS, build, describe, network_options
from inceptcli.networks.state_dict import COUNTER, state_dict_shapes
from inceptcli.networks.summary import summarize
from inceptcli.prediction.export import folded as folded_tensors
from tests.networks.variants import VARIANTS, num_sums_with_batch_norm
from tests.photographs import photographs
from tests.weights.parity import (
    LIMIT,
    assert_tell_photographs_apart,
    batch,
    difference,
    make_able_to_fail,
)

SIZE = (139, 155)
"""Grids of 15x17, 7x8 and 3x3: quick, and height is not width."""

GRAY = {"mean": (0.45,), "std": (0.27,)}
UNEQUAL = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

SEEN = 100 * LIMIT
"""A mistake changes logits by more, in standard deviations."""

Tensors = dict[str, NDArray[np.float32]]
Outputs = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Case:
    """A network whose statistics are of photographs, pictures, and what torch computes of them.

    In double precision: torch's rounding and ONNX Runtime's do not add up.
    """

    network: Network
    view: Preprocessing
    images: NDArray[np.uint8]
    logits: torch.Tensor
    features: torch.Tensor

    @property
    def description(self) -> Description:
        return describe(self.network.options)

    @property
    def tensors(self) -> Tensors:
        return {key: value.numpy() for key, value in self.network.state_dict().items()}


@lru_cache(maxsize=3)
def photographed(
    name: str, changes: tuple[tuple[str, Any], ...] = (), unequal: bool = False
) -> Case:
    small = {} if NETWORKS[name].repeats is None else {"repeats": (1, 1, 2)}
    options = network_options(name, **{"num_classes": 11, "width": 0.25, **small, **dict(changes)})
    view = Preprocessing(SIZE)
    if options.in_channels == 1 or unequal:
        view = replace(view, **(GRAY if options.in_channels == 1 else UNEQUAL))
    torch.manual_seed(0)
    network = build(options)
    photos = photographs(5)
    make_able_to_fail(network, batch(photos, view, SIZE))
    images = np.stack([view.crop(photo) for photo in photos[:3]])
    read = batch(photos[:3], view, SIZE)
    with torch.no_grad():
        rounded = network(read)
        network.double()
        last = network.forward_features(read.double())
        logits, features = network.classify(last), network.embedding_of(network.read(last))
        network.float()
    assert_tell_photographs_apart(logits)
    # Or single precision itself would be as wrong as the limit allows.
    assert difference(rounded, logits) < LIMIT / 2
    return Case(network, view, images, logits, features)


def graph_of(case: Case, **options: Any) -> ModelProto:
    description = options.pop("description", case.description)
    return onnx_graph(description, SIZE, case.view.mean, case.view.std, **options)


def with_parameters(model: ModelProto, tensors: Mapping[str, NDArray[np.float32]]) -> ModelProto:
    filled = ModelProto()
    filled.CopyFrom(model)
    for parameter in filled.graph.initializer:
        if parameter.data_location == TensorProto.EXTERNAL:
            values = tensors[parameter.name]
            assert tuple(parameter.dims) == values.shape, parameter.name
            parameter.CopyFrom(numpy_helper.from_array(values, parameter.name))
    return filled


def session_of(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers)


def run(model: ModelProto, images: NDArray[np.uint8]) -> Outputs:
    session = session_of(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images}), strict=True))


def computed(case: Case, *, folded: bool = False, **options: Any) -> Outputs:
    tensors = case.tensors
    if folded:
        description = options.get("description", case.description)
        tensors = folded_tensors(tensors, description.options.batch_norm_eps)
    model = with_parameters(graph_of(case, folded=folded, **options), tensors)
    onnx.checker.check_model(model, full_check=True)
    return run(model, case.images)


def distance(found: NDArray[np.float32], expected: torch.Tensor) -> float:
    assert found.dtype == np.float32
    assert found.shape == tuple(expected.shape)
    return difference(torch.from_numpy(found), expected)


def assert_same(case: Case, **options: Any) -> None:
    found = computed(case, **options)
    assert list(found) == ["logits", "features"]
    assert distance(found["logits"], case.logits) < LIMIT
    assert distance(found["features"], case.features) < LIMIT
    assert case.logits.argmax(1).tolist() == found["logits"].argmax(1).tolist()
    if case.network.options.name == "irv1-facenet":
        np.testing.assert_allclose(np.linalg.norm(found["features"], axis=1), 1, rtol=1e-5)


def is_quick(name: str, changes: Mapping[str, Any]) -> bool:
    """A pure and a residual network as they are registered, and each option of the latter."""
    return name == "irv1" or (name == "iv4" and not changes)


SMALL_VARIANTS = [
    pytest.param(
        name, tuple(changes.items()), marks=[] if is_quick(name, changes) else pytest.mark.system
    )
    for name, changes in VARIANTS
    if "repeats" not in changes
]


@pytest.mark.parametrize(("name", "changes"), SMALL_VARIANTS, ids=str)
def test_it_computes_what_the_torch_module_computes(
    name: str, changes: tuple[tuple[str, Any], ...]
) -> None:
    case = photographed(name, changes)
    assert_same(case)
    assert_same(case, folded=True)


@pytest.mark.parametrize("name", [pytest.param("iv4", marks=pytest.mark.system), "irv1"])
def test_channels_may_be_normalized_unequally(name: str) -> None:
    assert_same(photographed(name, unequal=True))


@pytest.mark.system
@pytest.mark.parametrize("name", NETWORKS)
def test_whole_networks_are_the_same_too(name: str) -> None:
    whole = {"width": 1.0, "repeats": NETWORKS[name].repeats}
    changes = tuple((option, value) for option, value in whole.items() if value is not None)
    assert_same(photographed(name, changes))


def test_any_number_of_images_is_computed_at_once() -> None:
    case = photographed("irv1-facenet")
    session = session_of(with_parameters(graph_of(case), case.tensors))
    for count in (1, 2, 3):
        logits, features = session.run(None, {"images": case.images[:count]})
        assert distance(logits, case.logits[:count]) < LIMIT
        assert distance(features, case.features[:count]) < LIMIT


@pytest.mark.parametrize("folded", [False, True])
def test_without_a_classifier_there_are_features_alone(folded: bool) -> None:
    case = photographed("irv2")
    found = computed(case, has_classifier=False, folded=folded)
    assert list(found) == ["features"]
    assert distance(found["features"], case.features) < LIMIT
    model = graph_of(case, has_classifier=False, folded=folded)
    assert not [each.name for each in model.graph.initializer if "classifier" in each.name]


def reversed_paths(boxes: Boxes) -> Any:
    """The same with each fork's paths the other way round; names, shapes and counts stay."""
    if isinstance(boxes, Fork):
        paths = {name: reversed_paths(path) for name, path in reversed([*boxes.paths.items()])}
        if isinstance(boxes, Residual):
            return Residual(boxes.scale, boxes.activation, boxes.batch_norm, **paths)
        return Fork(**paths)
    return [reversed_paths(box) for box in boxes] if isinstance(boxes, list) else boxes


def with_paths_reversed(right: Description) -> Description:
    stages = [replace(stage, boxes=reversed_paths(stage.boxes)) for stage in right.stages]
    return replace(right, stages=stages)


def with_options(**changes: Any) -> Callable[[Description], Description]:
    def changed(right: Description) -> Description:
        return describe(replace(right.options, **changes))

    return changed


# By network: the last few are kept.
MISTAKES: dict[str, tuple[str, Callable[[Description], Description]]] = {
    "paths reversed, iv4": ("iv4", with_paths_reversed),
    "another epsilon, iv4": ("iv4", with_options(batch_norm_eps=1e-5)),
    "paths reversed, iv3": ("iv3", with_paths_reversed),
    "padding counted, iv3": ("iv3", with_options(count_padding=True)),
    "padding counted, iv4-tf": ("iv4-tf", with_options(count_padding=True)),
    "padding counted, irv2-tf": ("irv2-tf", with_options(count_padding=True)),
    "paths reversed, irv2": ("irv2", with_paths_reversed),
    "no shortcut, irv2": ("irv2", with_options(shortcut=False)),
    "another epsilon, irv1": ("irv1", with_options(batch_norm_eps=1e-5)),
    "another scale, irv1": ("irv1", with_options(residual_scales=(0.17, 0.1, 0.17))),
}


@pytest.mark.system
@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_that_keeps_every_shape_is_seen(mistake: str, folded: bool) -> None:
    name, wrong = MISTAKES[mistake]
    case = photographed(name)
    found = computed(case, description=wrong(case.description), folded=folded)
    assert distance(found["logits"], case.logits) > SEEN
    assert distance(found["features"], case.features) > SEEN


def test_mean_and_deviation_of_other_channels_are_seen() -> None:
    case = photographed("iv4", unequal=True)
    mean, std = case.view.mean[::-1], case.view.std
    model = with_parameters(onnx_graph(case.description, SIZE, mean, std), case.tensors)
    assert distance(run(model, case.images)["logits"], case.logits) > SEEN


@pytest.mark.parametrize("folded", [False, True], ids=["not folded", "folded"])
@pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=str)
def test_nodes_are_called_as_the_boxes_and_have_their_shapes(
    name: str, changes: dict[str, Any], folded: bool
) -> None:
    options = network_options(name, **changes)
    mean = (0.5,) * options.in_channels
    model = onnx_graph(describe(options), SIZE, mean, mean, folded=folded)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    shapes = {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim[1:])
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    nodes = {node.name: node for node in model.graph.node}
    assert len(nodes) == len(model.graph.node)
    kinds = {"max pool": "MaxPool", "average pool": "AveragePool", "conv": "Conv"}
    kinds |= {"1x1 linear": "Conv", "batch norm": "BatchNormalization", "linear": "Gemm"}
    for stage in summarize(options, SIZE).stages:
        for layer in stage.layers:
            if layer.kind == "dropout":
                continue
            node = nodes["embedding.linear" if layer.name == "embedding" else layer.name]
            assert node.op_type == next(op for word, op in kinds.items() if word in layer.kind)
            assert shapes[node.output[0]] == layer.output_shape, layer.name
    norms = sum(node.op_type == "BatchNormalization" for node in nodes.values())
    on_sums = num_sums_with_batch_norm(options)
    convolutions = sum("batch_norm" in key for key in nodes) - on_sums
    assert norms == on_sums + convolutions
    assert (convolutions == 0) == folded


def test_a_box_of_a_figure_is_found_by_its_name() -> None:
    model = onnx_graph(describe(network_options("irv2")), (299, 299), (0.5,) * 3, (0.5,) * 3)
    (node,) = [node for node in model.graph.node if node.name == "inception_a.0.twice.1"]
    assert node.op_type == "Conv"
    attributes = {part.name: list(part.ints) for part in node.attribute}
    assert attributes == {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}


@pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=str)
def test_parameters_are_those_of_the_state_dict_with_nothing_in_them(
    name: str, changes: dict[str, Any]
) -> None:
    description = describe(network_options(name, **changes))
    mean = (0.5,) * description.options.in_channels
    model = onnx_graph(description, SIZE, mean, mean)
    external = [
        part for part in model.graph.initializer if part.data_location == TensorProto.EXTERNAL
    ]
    shapes = state_dict_shapes(description)
    expected = {key: shape for key, shape in shapes.items() if not key.endswith(COUNTER)}
    assert {part.name: tuple(part.dims) for part in external} == expected
    assert not any(part.HasField("raw_data") or part.float_data for part in external)
    assert {part.data_type for part in external} == {TensorProto.FLOAT}
    others = [part for part in model.graph.initializer if part not in external]
    assert max(numpy_helper.to_array(part).size for part in others) == 3
    assert model.ByteSize() < 500_000


@pytest.mark.parametrize("opset", range(18, 24))
@pytest.mark.parametrize("name", [pytest.param("iv4", marks=pytest.mark.system), "irv1-facenet"])
def test_it_is_valid_onnx_of_every_opset(name: str, opset: int) -> None:
    case = photographed(name)
    model = with_parameters(graph_of(case, opset=opset), case.tensors)
    assert [(part.domain, part.version) for part in model.opset_import] == [("", opset)]
    assert model.ir_version == IR_VERSIONS[opset]
    # The file format is the one that came with the opset.
    assert model.ir_version == onnx.helper.find_min_ir_version_for(list(model.opset_import))
    onnx.checker.check_model(model, full_check=True)
    assert distance(run(model, case.images)["logits"], case.logits) < LIMIT


@pytest.mark.parametrize("name", NETWORKS)
def test_images_go_in_and_logits_and_features_come_out(name: str) -> None:
    options = network_options(name, num_classes=11)
    model = onnx_graph(describe(options), SIZE, (0.5,) * 3, (0.5,) * 3)
    given = [(value.name, shape_of(value)) for value in model.graph.input]
    assert given == [("images", ["batch", *SIZE, 3])]
    found = [(value.name, shape_of(value)) for value in model.graph.output]
    width = describe(options).num_features
    assert found == [("logits", ["batch", 11]), ("features", ["batch", width])]


def shape_of(value: Any) -> list[str | int]:
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


def test_an_image_of_another_size_is_refused() -> None:
    case = photographed("irv1-facenet")
    session = session_of(with_parameters(graph_of(case), case.tensors))
    with pytest.raises(Exception, match="Got invalid dimensions for input: images"):
        session.run(None, {"images": case.images[:, :-1]})


def test_the_graph_is_made_without_torch() -> None:
    code = f"""
import sys
from inceptcli.networks.onnx_graph import onnx_graph
from inceptcli.networks.registry import NETWORKS, describe, network_options
for name in NETWORKS:
    model = onnx_graph(describe(network_options(name)), {SIZE}, (0.5,) * 3, (0.5,) * 3)
    assert model.opset_import[0].version == {OPSET}
print(*sorted({{"torch", "onnxruntime"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
