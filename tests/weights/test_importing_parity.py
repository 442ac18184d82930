"""Imported weights compute what the libraries they come from compute."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from inceptcli.networks.torch_modules import ForkModule
from inceptcli.weights.file import load_network, read_metadata
from inceptcli.weights.foreign.declared import config_beside
from inceptcli.weights.foreign.importing import convert
from inceptcli.weights.metadata import WeightsMetadata
from inceptcli.weights.timm_export import to_timm
from tests.photographs import photographs
from tests.weights.parity import (
    CLASSES,
    LIMIT,
    SIZES,
    assert_same,
    batch,
    difference,
    make_able_to_fail,
)

pytestmark = [pytest.mark.parity, pytest.mark.system]

SMALL = (139, 155)
TIMM = {"iv4-tf": "inception_v4", "irv2-tf": "inception_resnet_v2", "iv3": "inception_v3"}


class Imported(NamedTuple):
    """Their network, ours made from its file, and the files."""

    theirs: nn.Module
    ours: nn.Module
    metadata: WeightsMetadata
    source: Path
    path: Path


def imported(theirs: nn.Module, folder: Path) -> Imported:
    source, path = folder / "theirs.safetensors", folder / "ours.safetensors"
    save_file(theirs.state_dict(), source)
    config = config_beside(source)
    convert(source, path, declared=[] if config is None else [config])
    ours, metadata = load_network(path)
    return Imported(theirs, ours, metadata, source, path)


@pytest.fixture(scope="module", params=list(TIMM))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    timm = pytest.importorskip("timm")
    torch.manual_seed(2)
    theirs = timm.create_model(TIMM[request.param], num_classes=CLASSES)
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "iv3":  # of which torchvision has another view, which is assumed
        timm.models.save_for_hf(theirs, folder)
    preprocessing = imported(theirs, folder).metadata.preprocessing
    make_able_to_fail(theirs, batch(photographs(5), preprocessing, (299, 299)))
    return imported(theirs, folder)


@torch.no_grad()
def logits(network: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = network(images)
    return found


@pytest.fixture(scope="module")
def reference(pair: Imported) -> tuple[Tensor, Tensor]:
    """Three small photographs and timm's logits of them: a mistake is seen at any size."""
    images = batch(photographs(3), pair.metadata.preprocessing, SMALL)
    return images, logits(pair.theirs, images)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_weights_of_timm_give_timms_logits(pair: Imported, size: tuple[int, int]) -> None:
    images = batch(photographs(3), pair.metadata.preprocessing, size)
    ours, theirs = logits(pair.ours, images), logits(pair.theirs, images)
    print(f"{pair.metadata.network.name} {size}: {difference(ours, theirs):.2g}")
    assert_same(ours, theirs)


def set_epsilon(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5


def pool_otherwise(network: nn.Module) -> None:
    """Padding counts where it does not count, and the other way round."""
    for module in network.modules():
        if isinstance(module, nn.AvgPool2d):
            module.count_include_pad = not module.count_include_pad


def swap_one_path(network: nn.Module) -> None:
    block = network.get_submodule("inception_a.0")
    assert isinstance(block, ForkModule)
    first, second, *others = block.path_names
    block.path_names = (second, first, *others)


@pytest.mark.parametrize("mistake", [set_epsilon, pool_otherwise, swap_one_path])
def test_a_mistake_in_the_network_would_be_seen(
    pair: Imported, reference: tuple[Tensor, Tensor], mistake: Callable[[nn.Module], None]
) -> None:
    images, expected = reference
    wrong = copy.deepcopy(pair.ours)
    mistake(wrong)
    found = difference(logits(wrong, images), expected)
    print(f"{pair.metadata.network.name} {mistake.__name__}: {found:.2g}")
    assert found > 10 * LIMIT


def test_the_wrong_interpolation_would_be_seen(
    pair: Imported, reference: tuple[Tensor, Tensor]
) -> None:
    preprocessing = replace(pair.metadata.preprocessing, interpolation="bilinear")
    bilinear = batch(photographs(3), preprocessing, SMALL)
    found = difference(logits(pair.ours, bilinear), reference[1])
    print(f"{pair.metadata.network.name} bilinear: {found:.2g}")
    assert found > 10 * LIMIT


def test_images_are_prepared_as_timm_prepares_them(pair: Imported) -> None:
    from timm.data.transforms_factory import create_transform

    preprocessing = pair.metadata.preprocessing
    config: dict[str, Any] = dict(pair.theirs.pretrained_cfg)  # type: ignore[arg-type]
    assert preprocessing.crop_fraction == config["crop_pct"]
    transform = create_transform(
        config["input_size"],
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        crop_pct=config["crop_pct"],
    )
    photos = photographs(51)
    ours = batch(photos, preprocessing, preprocessing.image_size)
    theirs = torch.stack([transform(Image.fromarray(photo)) for photo in photos])
    found = float((ours - theirs).abs().max())
    print(f"{pair.metadata.network.name} preprocessing: {found * 255:.3g} / 255")
    assert found <= 2 / 255


def test_timms_tensors_come_back_bit_for_bit(pair: Imported, tmp_path: Path) -> None:
    import timm

    export = to_timm(pair.path, tmp_path / "back.safetensors")
    back, source = load_file(tmp_path / "back.safetensors"), load_file(pair.source)
    assert (export.model, export.num_classes) == (TIMM[pair.metadata.network.name], CLASSES)
    assert list(back) == list(source)
    for key, tensor in source.items():
        assert torch.equal(back[key], tensor), key
    fresh = timm.create_model(export.model, num_classes=export.num_classes)
    fresh.load_state_dict(back, strict=True)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    facenet = pytest.importorskip("facenet_pytorch")
    torch.manual_seed(2)
    theirs = facenet.InceptionResnetV1(classify=True, num_classes=CLASSES)
    folder = tmp_path_factory.mktemp("faces")
    preprocessing = imported(theirs, folder).metadata.preprocessing
    make_able_to_fail(theirs, batch(photographs(5), preprocessing, (160, 160)))
    return imported(theirs, folder)


@pytest.mark.parametrize("size", [(160, 160), *SIZES], ids=str)
def test_weights_of_facenet_give_its_embeddings_and_logits(
    faces: Imported, size: tuple[int, int]
) -> None:
    images = batch(photographs(3), faces.metadata.preprocessing, size)
    ours, theirs = logits(faces.ours, images), logits(faces.theirs, images)
    print(f"irv1-facenet {size}: {difference(ours, theirs):.2g}")
    assert_same(ours, theirs)
    embedding = copy.copy(faces.theirs)
    embedding.classify = False  # type: ignore[assignment]
    with torch.no_grad():
        embedded = faces.ours.embed(images)  # type: ignore[operator]
    torch.testing.assert_close(embedded, logits(embedding, images), atol=1e-5, rtol=0)


def test_images_of_faces_are_prepared_as_facenet_prepares_them(faces: Imported) -> None:
    from facenet_pytorch import fixed_image_standardization

    preprocessing = read_metadata(faces.path).preprocessing
    pixels = np.arange(160 * 160 * 3).reshape(160, 160, 3).astype(np.uint8)
    ours = batch([pixels], preprocessing, preprocessing.image_size)[0]
    theirs = fixed_image_standardization(torch.from_numpy(pixels).permute(2, 0, 1).float())
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
