"""Model FLOPs utilization: training throughput as a share of the device's peak."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer

from inceptcli.networks.registry import NetworkOptions
from inceptcli.networks.summary import summarize
from inceptcli.training.fine_tuning import keeps_features
from inceptcli.training.plan import Plan


class Peak(NamedTuple):
    """Peak dense TFLOPS with float32 accumulation; None if the device lacks the format."""

    float16: float
    bfloat16: float | None
    tf32: float | None
    float32: float


# NVIDIA's data sheets: A100 (June 2021), V100 (January 2020), T4 (March 2019), L4 (2023), L40S
# (2023), H100 (2024: SXM, PCIe and NVL), H200 (2024: SXM and NVL); figures stated only with
# sparsity are halved. GeForce: appendices of NVIDIA's Ada (2022) and Blackwell (2025) white
# papers, Tensor TFLOPS with FP32 accumulate.
PEAKS = {
    r"Tesla V100-SXM2-\d+GB(-LS)?": Peak(125, None, None, 15.7),
    r"Tesla V100-PCIE-\d+GB": Peak(112, None, None, 14),
    r"Tesla T4": Peak(65, None, None, 8.1),
    r"(NVIDIA )?A100-(SXM4|PCIE|PCIe|SXM)-\d+GB": Peak(312, 312, 156, 19.5),
    r"NVIDIA A100 80GB PCIe": Peak(312, 312, 156, 19.5),
    r"NVIDIA H100 80GB HBM3": Peak(989.4, 989.4, 494.7, 66.9),
    r"NVIDIA H100 PCIe": Peak(756, 756, 378, 51.2),
    r"NVIDIA H100 NVL": Peak(835.5, 835.5, 417.5, 60),
    r"NVIDIA H200": Peak(989.4, 989.4, 494.7, 66.9),
    r"NVIDIA H200 NVL": Peak(835.5, 835.5, 417.5, 60),
    r"NVIDIA L4": Peak(121, 121, 60, 30.3),
    r"NVIDIA L40S": Peak(362, 362, 183, 91.6),
    r"NVIDIA GeForce RTX 4090": Peak(165.2, 165.2, 82.6, 82.6),
    r"NVIDIA GeForce RTX 5090": Peak(209.5, 209.5, 104.8, 104.8),
}
"""Peaks by full CUDA device name; MIG slices and mobile devices have other names."""


def model_flops_utilization(plan: Plan, trainer: Trainer, images_per_second: float) -> float | None:
    """Return the share (0 to 1) of all devices' peak; None if it is unknown, as on a CPU."""
    peak = peak_flops(_device_name(trainer.strategy.root_device), str(trainer.precision))
    if peak is None:
        return None
    freeze, size = plan.recipe.network.freeze, plan.preprocessing.image_size
    needed = training_flops(plan.network, size, freeze, keeps_features(plan))
    return needed * images_per_second / (peak * trainer.world_size)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def training_flops(
    options: NetworkOptions, image_size: tuple[int, int], freeze: str, kept: bool = False
) -> int:
    """Return the FLOPs to train on one image, two per multiply-add.

    The forward pass has one product per layer, and the backward pass two for trained layers.
    Recomputed activations and the auxiliary head are not counted, nor the frozen stages if their
    features are `kept`.
    """
    stages = summarize(options, image_size).stages
    if kept:
        stages = [stage for stage in stages if stage.name == "classifier"]
    total = sum(stage.multiply_adds for stage in stages)
    trained = {
        "none": stages,
        "stem": stages[1:],
        "all-but-head": [stage for stage in stages if stage.name == "classifier"],
    }[freeze]
    return 2 * total + 4 * sum(stage.multiply_adds for stage in trained)


def peak_flops(name: str, precision: str) -> float | None:
    """Return the peak FLOPS of device `name` at Lightning's `precision`; None if unknown.

    In float32, convolutions use TF32 if the device has it and torch allows it.
    """
    found = [peak for pattern, peak in PEAKS.items() if re.fullmatch(pattern, name)]
    if not found:
        return None
    (peak,) = found
    tf32 = peak.tf32 if torch.backends.cudnn.allow_tf32 else None
    by_kind = {"16": peak.float16, "bf16": peak.bfloat16, "32": tf32 or peak.float32}
    tera = by_kind.get(precision.partition("-")[0])
    return None if tera is None else tera * 1e12
