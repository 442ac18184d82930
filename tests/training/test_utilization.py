"""model_flops_utilization: from the network's multiply-adds, the speed and the device's peak."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from inceptcli.data.pixels.shapes import Shapes
from inceptcli.networks.registry import NETWORKS, build, network_options
from inceptcli.networks.summary import summarize
from inceptcli.training.callbacks import utilization
from inceptcli.training.callbacks.utilization import peak_flops, training_flops
from inceptcli.training.fine_tuning import Freeze, frozen_parts
from tests.tiny_network import tiny_options
from tests.training.conftest import Train


@pytest.mark.parametrize(
    ("name", "precision", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16-mixed", 989.4),
        ("NVIDIA H100 80GB HBM3", "32-true", 494.7),  # TF32, which torch allows convolutions
        ("NVIDIA H200", "16-mixed", 989.4),
        ("NVIDIA H200 NVL", "bf16-true", 835.5),
        ("NVIDIA A100-SXM4-80GB", "bf16-mixed", 312),
        ("A100-SXM4-40GB", "16-true", 312),
        ("NVIDIA L4", "bf16-mixed", 121),
        ("NVIDIA L40S", "bf16-mixed", 362),
        ("NVIDIA GeForce RTX 4090", "bf16-mixed", 165.2),
        ("NVIDIA GeForce RTX 5090", "16-mixed", 209.5),
        ("Tesla V100-SXM2-32GB", "16-mixed", 125),
        ("Tesla V100-SXM2-32GB", "bf16-mixed", None),
        ("Tesla V100-PCIE-16GB", "32-true", 14),
        ("Tesla T4", "16-mixed", 65),
        ("Tesla T4", "64-true", None),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "bf16-mixed", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16-mixed", None),
        ("NVIDIA GeForce RTX 4090 D", "bf16-mixed", None),
        ("NVIDIA L40", "bf16-mixed", None),
        ("", "bf16-mixed", None),
    ],
)
def test_the_peak_is_that_of_the_device_and_the_precision(
    name: str, precision: str, tera: float | None
) -> None:
    found = peak_flops(name, precision)
    assert found == (None if tera is None else pytest.approx(tera * 1e12))


def test_without_tf32_float32_has_the_peak_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert peak_flops("NVIDIA H100 80GB HBM3", "32-true") == pytest.approx(66.9e12)


@pytest.mark.parametrize("name", NETWORKS)
def test_flops_are_six_a_multiply_add_and_two_where_nothing_trains(name: str) -> None:
    options = network_options(name, num_classes=10)
    summary = summarize(options, (96, 128))
    assert training_flops(options, (96, 128), "none") == 6 * summary.multiply_adds
    with torch.device("meta"):
        network = build(options)
    freeze: Freeze
    for freeze in ("stem", "all-but-head"):
        frozen = {id(part) for part in frozen_parts(network, freeze)}
        spared = sum(
            stage.multiply_adds
            for stage in summary.stages
            if hasattr(network, stage.name) and id(network.get_submodule(stage.name)) in frozen
        )
        assert spared > 0
        expected = 6 * summary.multiply_adds - 4 * spared
        assert training_flops(options, (96, 128), freeze) == expected


def test_on_a_cpu_the_field_is_empty(train: Train) -> None:
    rows = train().read_metrics()
    assert [row["model_flops_utilization"] for row in rows] == ["", ""]


def test_the_field_is_the_share_of_the_peak(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU that is taken for a device of two gigaflops."""
    monkeypatch.setattr(utilization, "_device_name", lambda device: "A device")
    monkeypatch.setitem(utilization.PEAKS, "A device", utilization.Peak(1, 1, None, 0.002))
    (row,) = train(trainer__epochs=1).read_metrics()
    options = tiny_options(num_classes=10)
    multiply_adds = summarize(options, (75, 75)).multiply_adds
    expected = 6 * multiply_adds * float(row["images_per_second"]) / 2e9
    # Both are written rounded.
    assert float(row["model_flops_utilization"]) == pytest.approx(expected, rel=0.01)


def test_the_wait_for_images_is_part_of_the_rate(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, seconds = Shapes.image, 0.1

    def slow(self: Shapes, index: int) -> Any:
        time.sleep(seconds)
        return image(self, index)

    monkeypatch.setattr(Shapes, "image", slow)
    (row,) = train(trainer__epochs=1).read_metrics()
    waited = 12 * seconds  # Lightning may have fetched two of the five batches before it starts
    assert float(row["images_per_second"]) < 20 / waited


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_known_gpu_the_field_is_a_share(train: Train) -> None:
    (row,) = train(
        trainer__epochs=1, trainer__accelerator="gpu", trainer__precision="bf16-mixed",
        data__train_size=400, data__batch_size=16,
    ).read_metrics()  # fmt: skip
    share = row["model_flops_utilization"]
    if peak_flops(torch.cuda.get_device_name(), "bf16-mixed") is None:
        assert share == ""
    else:
        assert 0 < float(share) < 1
