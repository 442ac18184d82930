from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import build, network_options
from inceptcli.prediction.engines.torch_engine import TorchEngine
from inceptcli.prediction.export import export_onnx
from inceptcli.weights.file import save
from inceptcli.weights.metadata import ClassName, WeightsMetadata

IDS = ("n0", "n1", "n2", "n3", "n4", "n5")
CLASSES = ("circle", "=square", "[red]star[/red]", "bell\x07", "käse", "ring")


def save_small_network(path: Path, ids: Sequence[str] = IDS) -> Path:
    """An Inception-ResNet-v1 for 75x75 pixels and up to six classes, as `path`; answers differ."""
    torch.manual_seed(0)
    options = network_options("irv1", num_classes=len(ids), repeats=(1, 1, 1))
    network = build(options)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.rand(8, 3, 75, 75) * torch.rand(8, 3, 1, 1) * 2 - 1)
        network.get_parameter("classifier.weight").mul_(2)
    classes = tuple(ClassName(*entry) for entry in zip(ids, CLASSES, strict=False))
    metadata = WeightsMetadata(options, classes, Preprocessing((75, 75)))
    save(path, network.state_dict(), metadata)
    return path


def draw(path: Path, seed: int, size: tuple[int, int] = (60, 80)) -> Path:
    """A smooth picture of random colors, the same for the same seed."""
    random = np.random.default_rng(seed)
    levels = (random.random((3, 3, 3)) * random.random(3) * 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC).save(path, "PNG")
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="session")
def engine(weights: Path) -> TorchEngine:
    return TorchEngine.load(weights, "cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Seven pictures of different colors."""
    return [draw(tmp_path / "pictures" / f"{number}.png", number) for number in range(7)]


@pytest.fixture(scope="session")
def onnx_weights(weights: Path) -> Path:
    """The same network as an ONNX file, beside it."""
    output = weights.with_name("model.onnx")
    export_onnx(weights, output)
    return output
