"""torchvision's Inception-v3 becomes ours: the same logits, its auxiliary head where it is kept."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import Inception3, Inception_V3_Weights

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UserError
from inceptcli.networks.network import AuxiliaryHead, Network
from inceptcli.networks.registry import build
from inceptcli.prediction.engines.onnx_engine import OnnxEngine
from inceptcli.weights.file import load_auxiliary_head, load_network, load_tensors, read_metadata
from inceptcli.weights.foreign.importing import Imported, convert
from inceptcli.weights.keys.torchvision_keys import INCEPTION_V3
from inceptcli.weights.metadata import WeightsMetadata
from tests.cli.conftest import check_one_line, inceptcli, picture
from tests.photographs import photographs
from tests.weights.foreign_files import numbered, numbered_head
from tests.weights.parity import (
    CLASSES,
    LIMIT,
    SIZES,
    assert_same,
    batch,
    difference,
    make_able_to_fail,
)

PASSED_OVER = "skipped the auxiliary head (--auxiliary-head keeps it for training)"
AS_PUBLISHED = (
    "assumed for torchvision, Inception-v3: images of 299x299, resize short-side, crop "
    "fraction 0.874269, bilinear, mean 0.5, std 0.5 (--image-size, --crop-fraction, "
    "--interpolation, --mean, --std)"
)


class Pair(NamedTuple):
    """torchvision's network, ours made of its file, and the files."""

    theirs: Inception3
    ours: nn.Module
    metadata: WeightsMetadata
    report: Imported
    source: Path
    path: Path


@pytest.fixture(scope="module", params=["with a head, as .pth", "without one, as safetensors"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    has_head = request.param.startswith("with a head")
    torch.manual_seed(2)
    theirs = Inception3(CLASSES, aux_logits=has_head, init_weights=False)
    make_able_to_fail(theirs, batch(photographs(5), INCEPTION_V3.preprocessing, (299, 299)))
    folder = tmp_path_factory.mktemp("torchvision")
    source, path = folder / "inception", folder / "ours.safetensors"
    if has_head:
        wrapped = {f"module.{key}": tensor for key, tensor in theirs.state_dict().items()}
        torch.save({"epoch": 3, "state_dict": wrapped}, source)
    else:
        save_file(theirs.state_dict(), source)
    report = convert(source, path)
    return Pair(theirs, *load_network(path), report, source, path)


@torch.no_grad()
def logits(network: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = network(images)
    return found


@pytest.mark.system
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_weights_of_torchvision_give_its_logits(pair: Pair, size: tuple[int, int]) -> None:
    images = batch(photographs(3), pair.metadata.preprocessing, size)
    ours, theirs = logits(pair.ours, images), logits(pair.theirs, images)
    print(f"{size}: {difference(ours, theirs):.2g}")
    assert_same(ours, theirs)
    assert pair.metadata.network.count_padding


@pytest.mark.system
def test_average_pools_that_do_not_count_padding_would_be_seen(pair: Pair) -> None:
    wrong = build(replace(pair.metadata.network, count_padding=False)).eval()
    wrong.load_state_dict(load_tensors(pair.path))
    images = batch(photographs(3), pair.metadata.preprocessing, (299, 299))
    found = difference(logits(wrong, images), logits(pair.theirs, images))
    print(f"{found:.2g}")
    assert found > 1000 * LIMIT


@pytest.mark.system
def test_photographs_are_seen_and_answered_as_in_torchvision(pair: Pair) -> None:
    """Its transforms normalize by ImageNet's figures, which the published network undoes."""
    transform = Inception_V3_Weights.IMAGENET1K_V1.transforms()
    photos = photographs(12)
    normalized = torch.stack([transform(Image.fromarray(photo)) for photo in photos])
    mean, std = (torch.tensor(each)[:, None, None] for each in (transform.mean, transform.std))
    theirs = ((normalized * std + mean) * 255).round().permute(0, 2, 3, 1)
    crops = np.stack([pair.metadata.preprocessing.crop(photo) for photo in photos])
    assert np.array_equal(theirs.numpy(), crops)
    published = copy.copy(pair.theirs)
    published.transform_input = True
    expected = logits(published, normalized[:3])
    assert_same(torch.from_numpy(OnnxEngine(pair.path).logits(crops[:3])), expected)
    # Only with the right mean and deviation.
    other = Preprocessing(**vars(pair.metadata.preprocessing) | {"mean": tuple(transform.mean)})
    images = batch(photos[:3], other, (299, 299))
    assert difference(logits(pair.ours, images), expected) > 100 * LIMIT


@pytest.mark.system
def test_the_auxiliary_head_is_dropped_or_kept_as_is_asked(pair: Pair, tmp_path: Path) -> None:
    has_head = pair.theirs.aux_logits
    assert (PASSED_OVER in pair.report.remarks) == has_head
    assert load_auxiliary_head(pair.path) == {}
    output = tmp_path / "kept.safetensors"
    if not has_head:
        with pytest.raises(
            UserError, match="torchvision, Inception-v3 without auxiliary head; leave it out"
        ):
            convert(pair.source, output, auxiliary_head=True)
        return
    report = convert(pair.source, output, auxiliary_head=True)
    assert PASSED_OVER not in report.remarks
    head = AuxiliaryHead(pair.metadata.network).eval()
    head.load_state_dict(load_auxiliary_head(output))
    assert isinstance(pair.ours, Network)
    images = batch(photographs(3), pair.metadata.preprocessing, (299, 299))
    with torch.no_grad():
        stages = dict(pair.ours.forward_stages(images))
        expected = pair.theirs.AuxLogits(stages["inception_b"])
        found = head(stages["inception_b"])
    assert difference(found, expected) <= LIMIT
    for key, tensor in load_tensors(pair.path).items():
        assert torch.equal(load_tensors(output)[key], tensor), key


@pytest.mark.system
@pytest.mark.parity
def test_it_goes_on_to_timm(pair: Pair, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    output = tmp_path / "timm.safetensors"
    done = inceptcli("export", pair.path, "--to", "timm", "--output", output)
    assert done.exit_code == 0, done.stderr
    model = timm.create_model("inception_v3", num_classes=CLASSES).eval()
    model.load_state_dict(load_file(output))
    images = batch(photographs(3), pair.metadata.preprocessing, (299, 299))
    assert_same(logits(model, images), logits(pair.theirs, images))


def test_the_command_line_says_what_it_took(tmp_path: Path) -> None:
    source, output = tmp_path / "inception_v3_google.pth", tmp_path / "ours.safetensors"
    torch.save(numbered(INCEPTION_V3, 1000) | numbered_head(INCEPTION_V3, 1000), source)
    done = inceptcli("import", source, "--output", output)
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    assert done.stderr.splitlines()[:4] == [
        f"{source}: torchvision, Inception-v3, 1000 classes",
        PASSED_OVER,
        AS_PUBLISHED,
        "assumed: the 1000 classes are ImageNet's, by synset id (--classes)",
    ]
    assert done.stderr.splitlines()[-1] == f"wrote {output}, iv3"
    done = inceptcli("import", source, "--output", output, "--auxiliary-head")
    assert (done.exit_code, PASSED_OVER in done.stderr) == (0, False)
    head = load_auxiliary_head(output)
    assert all((tensor == 9).all() for tensor in head.values())
    assert head["classifier.weight"].shape == (1000, 768)


def test_a_network_without_a_head_has_none_to_keep(tmp_path: Path) -> None:
    torch.save(numbered(INCEPTION_V3), tmp_path / "a.pth")
    words = ("import", tmp_path / "a.pth", "--output", tmp_path / "b.safetensors")
    said = "--auxiliary-head: torchvision, Inception-v3 without auxiliary head; leave it out"
    check_one_line(inceptcli(*words, "--auxiliary-head"), 1, said)


def test_a_part_of_a_head_is_not_taken_for_one(tmp_path: Path) -> None:
    tensors = numbered(INCEPTION_V3) | numbered_head(INCEPTION_V3)
    del tensors["AuxLogits.conv1.conv.weight"]
    torch.save(tensors, tmp_path / "a.pth")
    words = ("import", tmp_path / "a.pth", "--output", tmp_path / "b.safetensors")
    check_one_line(inceptcli(*words, "--auxiliary-head"), 1, "1 missing: AuxLogits.conv1.conv.weig")
    assert inceptcli(*words).exit_code == 0


def test_timms_config_beside_it_is_believed(tmp_path: Path) -> None:
    """As timm's inception_v3.gluon_in1k has it."""
    tensors = {key: tensor.contiguous() for key, tensor in numbered(INCEPTION_V3).items()}
    save_file(tensors, tmp_path / "model.safetensors")
    view = {
        "input_size": [3, 299, 299],
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    config = {
        "architecture": "inception_v3",
        "num_classes": 3,
        "label_names": ["cat", "dog", "elk"],
        "pretrained_cfg": view,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ("import", tmp_path / "model.safetensors", "--output", tmp_path / "ours.safetensors")
    done = inceptcli(*words)
    assert done.exit_code == 0, done.stderr
    assert "assumed for torchvision, Inception-v3: resize short-side\n" in done.stderr
    metadata = read_metadata(tmp_path / "ours.safetensors")
    assert metadata.preprocessing == Preprocessing(
        (299, 299), "short-side", 0.875, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )
    assert [name for name, _ in metadata.classes] == ["cat", "dog", "elk"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "inception_v4"}))
    done = inceptcli(*words)
    assert f"skipped {tmp_path}/config.json: it describes inception_v4" in done.stderr
    assert "crop fraction 0.874269, bilinear" in done.stderr


@pytest.mark.train
def test_training_starts_from_it_with_its_head_and_with_its_stem_as_it_is(tmp_path: Path) -> None:
    torch.manual_seed(2)
    torch.save(Inception3(3, init_weights=False).state_dict(), tmp_path / "a.pth")
    start, run = tmp_path / "start.safetensors", tmp_path / "run"
    done = inceptcli("import", tmp_path / "a.pth", "--output", start, "--auxiliary-head")
    assert done.exit_code == 0, done.output
    for number, name in enumerate("xyz" * 2):
        picture(tmp_path / "data" / ("train", "val")[number // 3] / name / "a.png", number)
    done = inceptcli(
        "train", "--init", start, "--data", tmp_path / "data", "--output", run,
        "--batch-size", "3", "--epochs", "1", "--accelerator", "cpu",
        "--set", "network.auxiliary_weight=0.4", "--set", "network.freeze=stem",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"{start}: loaded the auxiliary head; new: its classifier (3 classes)" in done.output
    assert "frozen: the stem; " in done.output
    network = read_metadata(run / "model.safetensors").network
    assert (network.name, network.count_padding) == ("iv3", True)
    before, after = load_tensors(start), load_tensors(run / "model.safetensors")
    same = {key for key, tensor in before.items() if torch.equal(after[key], tensor)}
    assert {key for key in before if key.startswith("stem.")} <= same
    assert not {key for key in same if key.endswith("conv.weight") and key[:5] != "stem."}
