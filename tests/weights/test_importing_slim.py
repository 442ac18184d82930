"""The authors' own release: TF-slim's checkpoints become our networks, as a user imports them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UserError
from inceptcli.networks.network import AuxiliaryHead
from inceptcli.networks.registry import build, network_options
from inceptcli.training.fine_tuning import start_auxiliary_head
from inceptcli.weights.file import (
    AUXILIARY_HEAD,
    load_auxiliary_head,
    load_network,
    load_tensors,
    read_metadata,
    save,
)
from inceptcli.weights.foreign.recognition import recognize
from inceptcli.weights.formats.foreign_file import ForeignFile
from inceptcli.weights.formats.tensorflow_checkpoint import AVERAGE
from inceptcli.weights.imagenet_classes import imagenet_classes
from inceptcli.weights.keys.key_table import KeyTable, auxiliary_layout, layout
from inceptcli.weights.keys.slim_keys import (
    INCEPTION_RESNET_V1,
    INCEPTION_RESNET_V2,
    INCEPTION_V4,
    PREPROCESSING,
)
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.cli.conftest import check_one_line, inceptcli, picture
from tests.tiny_network import tiny_options
from tests.weights.foreign_files import numbered
from tests.weights.tensorflow_files import as_slim, write_version_1, write_version_2

CLASSES = tuple(ClassName(name, name) for name in ("x", "y", "z"))

# As nets/inception_v4.py, nets/inception_resnet_v2.py and facenet's train_softmax.py name them.
NAMES = {
    INCEPTION_V4: {
        "stem.0.conv.weight": "InceptionV4/Conv2d_1a_3x3/weights",
        "stem.3.strided.0.batch_norm.bias": "InceptionV4/Mixed_3a/Branch_1/Conv2d_0a_3x3/"
        "BatchNorm/beta",
        "stem.4.deep.3.conv.weight": "InceptionV4/Mixed_4a/Branch_1/Conv2d_1a_3x3/weights",
        "inception_a.3.pooled.1.conv.weight": "InceptionV4/Mixed_5e/Branch_3/Conv2d_0b_1x1/weights",
        "inception_b.6.twice.4.batch_norm.running_var": "InceptionV4/Mixed_6h/Branch_2/"
        "Conv2d_0e_1x7/BatchNorm/moving_variance",
        "inception_c.0.once.1.tall.0.conv.weight": "InceptionV4/Mixed_7b/Branch_1/Conv2d_0c_3x1/"
        "weights",
        "auxiliary_head.path.2.conv.weight": "InceptionV4/AuxLogits/Conv2d_2a/weights",
        "auxiliary_head.classifier.bias": "InceptionV4/AuxLogits/Aux_logits/biases",
        "classifier.weight": "InceptionV4/Logits/Logits/weights",
    },
    INCEPTION_RESNET_V2: {
        "stem.7.once.1.conv.weight": "InceptionResnetV2/Mixed_5b/Branch_1/Conv2d_0b_5x5/weights",
        "inception_a.9.direct.0.conv.weight": "InceptionResnetV2/Repeat/block35_10/Branch_0/"
        "Conv2d_1x1/weights",
        "inception_b.19.linear.bias": "InceptionResnetV2/Repeat_1/block17_20/Conv2d_1x1/biases",
        "inception_c.8.linear.weight": "InceptionResnetV2/Repeat_2/block8_9/Conv2d_1x1/weights",
        "inception_c.9.deep.2.batch_norm.running_mean": "InceptionResnetV2/Block8/Branch_1/"
        "Conv2d_0c_3x1/BatchNorm/moving_mean",
        "projection.conv.weight": "InceptionResnetV2/Conv2d_7b_1x1/weights",
        "auxiliary_head.path.2.conv.weight": "InceptionResnetV2/AuxLogits/Conv2d_2a_5x5/weights",
        "auxiliary_head.classifier.bias": "InceptionResnetV2/AuxLogits/Logits/biases",
        "classifier.bias": "InceptionResnetV2/Logits/Logits/biases",
    },
    INCEPTION_RESNET_V1: {
        "stem.6.conv.weight": "InceptionResnetV1/Conv2d_4b_3x3/weights",
        "inception_a.4.linear.bias": "InceptionResnetV1/Repeat/block35_5/Conv2d_1x1/biases",
        "inception_c.5.direct.0.conv.weight": "InceptionResnetV1/Block8/Branch_0/Conv2d_1x1/"
        "weights",
        "reduction_b.twice.2.batch_norm.bias": "InceptionResnetV1/Mixed_7a/Branch_2/Conv2d_1a_3x3/"
        "BatchNorm/beta",
        "embedding.linear.weight": "InceptionResnetV1/Bottleneck/weights",
        "embedding.batch_norm.running_var": "InceptionResnetV1/Bottleneck/BatchNorm/"
        "moving_variance",
        "classifier.bias": "Logits/biases",
    },
}
COUNTS = {INCEPTION_V4: 608, INCEPTION_RESNET_V2: 908, INCEPTION_RESNET_V1: 492}
"""Variables of the networks and their auxiliary heads."""


def whole(table: KeyTable, num_classes: int = 1000) -> dict[str, torch.Tensor]:
    """The network's layout, with the auxiliary head where it has one."""
    options = network_options(table.network, num_classes=num_classes)
    return {**layout(options), **(auxiliary_layout(options) if table.has_auxiliary_head else {})}


def slim(table: KeyTable, num_classes: int) -> dict[str, NDArray[Any]]:
    """Tensor number n of the network and its auxiliary head is n; biases count the classes."""
    ours = whole(table, num_classes)
    theirs = table.theirs(ours)
    arrays = {
        theirs[key]: np.arange(num_classes, dtype="f4")
        if key.endswith("classifier.bias")
        else np.full(value.shape, number, "f4")
        for number, (key, value) in enumerate(ours.items())
    }
    return as_slim(arrays)


@pytest.mark.parametrize("table", NAMES, ids=lambda table: table.family)
def test_names_are_tf_slims(table: KeyTable) -> None:
    assert table.theirs(NAMES[table]) == NAMES[table]
    theirs = {key: np.zeros(0) for key in table.theirs(whole(table)).values()}
    assert len(as_slim(theirs)) == COUNTS[table]


@pytest.mark.system
@pytest.mark.parametrize(
    "table", [INCEPTION_V4, INCEPTION_RESNET_V2], ids=lambda table: table.network
)
def test_a_release_is_imported_by_the_command_line(
    table: KeyTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = slim(table, 1001)
    first = next(name for name in arrays if name.endswith("/weights"))
    arrays[f"{first}/RMSProp"] = arrays[first]
    if table is INCEPTION_V4:  # as released: version 1 of the one, version 2 of the other
        source = write_version_1(Path("inception.ckpt"), arrays)
    else:
        source = write_version_2(Path("inception.ckpt"), arrays)
    done = inceptcli("import", "inception.ckpt", "--output", "a.safetensors")
    assert done.exit_code == 0, done.output
    for line in (
        f"{source}: {table.family}, 1000 classes",
        f"skipped 1 variables used only for training: {first}/RMSProp",
        "dropped row 0 of the 1001-row classifier, the background class",
        "skipped the auxiliary head (--auxiliary-head keeps it for training)",
        "assumed: the 1000 classes are ImageNet's, by synset id (--classes)",
    ):
        assert line in done.stderr.splitlines()
    assert "resize squash, crop fraction 0.875, bilinear, not antialiased, mean" in done.stderr
    network, metadata = load_network(Path("a.safetensors"))
    assert metadata.preprocessing == PREPROCESSING
    assert metadata.classes == imagenet_classes()
    for number, (key, tensor) in enumerate(network.state_dict().items()):
        if key.endswith(("num_batches_tracked", "batch_norm.weight")):
            expected = torch.tensor(float(key.endswith("weight")))
        elif key == "classifier.bias":
            expected = torch.arange(1.0, 1001)
        else:
            expected = torch.tensor(float(number))
        assert torch.equal(tensor.float(), expected.expand(tensor.shape)), key
    done = inceptcli("import", source, "--output", "b.safetensors", "--auxiliary-head")
    assert done.exit_code == 0, done.output
    assert "skipped the auxiliary head" not in done.stderr
    head = load_auxiliary_head(Path("b.safetensors"))
    AuxiliaryHead(metadata.network).load_state_dict(head)
    assert torch.equal(head["classifier.bias"], torch.arange(1.0, 1001))
    assert "auxiliary head kept" in inceptcli("summarize", "b.safetensors").stdout
    load_network(Path("b.safetensors"))


def test_an_average_is_taken_and_raw_is_for_the_rest() -> None:
    groups = {"": numbered(INCEPTION_V4), AVERAGE: numbered(INCEPTION_V4, start=5)}
    found = recognize(Path("model.ckpt"), ForeignFile(groups))
    assert (found.name, found.averaged) == (AVERAGE, True)
    assert "skipped the file's own keys: raw weights (--raw uses them)" in found.remarks
    found = recognize(Path("model.ckpt"), ForeignFile(groups), raw=True)
    assert (found.name, found.averaged) == ("the file's own keys", False)


def test_a_missing_variable_is_named_as_tensorflow_names_it(tmp_path: Path) -> None:
    tensors = numbered(INCEPTION_V4)
    gone = tensors.pop("InceptionV4/Mixed_5b/Branch_0/Conv2d_0a_1x1/weights")
    assert gone.ndim == 4
    torch.save(tensors, tmp_path / "a.pth")
    done = inceptcli("import", tmp_path / "a.pth", "--output", tmp_path / "a.safetensors")
    said = "but 1 missing: InceptionV4/Mixed_5b/Branch_0/Conv2d_0a_1x1/weights; --partial init"
    check_one_line(done, 1, said)
    done = inceptcli(
        "import", tmp_path / "a.pth", "--output", tmp_path / "a.safetensors", "--auxiliary-head"
    )
    check_one_line(
        done, 1, "--auxiliary-head: TF-slim, Inception-v4 without auxiliary head; leave it out"
    )


@pytest.fixture
def with_head(tmp_path: Path) -> Path:
    """Weights of three classes, with an auxiliary head of ones."""
    options = tiny_options("irv2-tf", num_classes=3)
    network = build(options)
    head = {
        key: torch.ones_like(value) for key, value in AuxiliaryHead(options).state_dict().items()
    }
    tensors = network.state_dict() | {f"{AUXILIARY_HEAD}{key}": v for key, v in head.items()}
    path = tmp_path / "start.safetensors"
    save(path, tensors, WeightsMetadata(options, CLASSES, Preprocessing((299, 299))))
    return path


def test_training_starts_from_an_auxiliary_head_that_was_kept(
    with_head: Path, notices: list[str]
) -> None:
    assert not any(key.startswith(AUXILIARY_HEAD) for key in load_tensors(with_head))
    options = load_network(with_head)[1].network
    head = AuxiliaryHead(options)
    start_auxiliary_head(head, with_head, CLASSES)
    assert all((value == 1).all() for value in head.state_dict().values())
    assert notices == [f"{with_head}: loaded the auxiliary head"]
    head = AuxiliaryHead(options)
    start_auxiliary_head(head, with_head, CLASSES[::-1])
    assert (head.state_dict()["path.1.conv.weight"] == 1).all()
    assert not (head.classifier.weight == 1).any()
    assert notices[1:] == [
        f"{with_head}: loaded the auxiliary head; new: its classifier (3 classes)"
    ]
    tensors = load_tensors(with_head)
    save(with_head, tensors, read_metadata(with_head))
    start_auxiliary_head(head, with_head, CLASSES)
    assert notices[2:] == [f"{with_head}: has no auxiliary head; starting it at random values"]
    save(with_head, {**tensors, f"{AUXILIARY_HEAD}a": torch.ones(1)}, read_metadata(with_head))
    with pytest.raises(UserError, match=r"auxiliary head: .* is missing or has the wrong shape"):
        start_auxiliary_head(head, with_head, CLASSES)


@pytest.mark.train
def test_train_says_that_it_starts_from_the_auxiliary_head(with_head: Path, tmp_path: Path) -> None:
    for number, name in enumerate("xyz" * 2):
        picture(tmp_path / "data" / ("train", "val")[number // 3] / name / "a.png", number)
    command = [
        "train", "--init", with_head, "--data", tmp_path / "data", "--output", tmp_path / "run",
        "--batch-size", "3", "--epochs", "1", "--accelerator", "cpu",
        "--set", "network.auxiliary_weight=0.4",
    ]  # fmt: skip
    done = inceptcli(*command)
    assert done.exit_code == 0, done.output
    assert f"{with_head}: loaded the auxiliary head" in done.output
