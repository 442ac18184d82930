"""Resolve `--device` and `--devices`; import torch only if there may be an accelerator."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from inceptcli.errors import UsageError
from inceptcli.weights.onnx_file import is_onnx

ACCELERATORS = (
    "/dev/nvidiactl",  # NVIDIA
    "/dev/nvmap",  # NVIDIA's Jetson
    "/dev/kfd",  # AMD
    "/dev/dxg",  # either, in the Windows Subsystem for Linux
)
"""Files that exist on Linux machines with an accelerator."""

BATCH_SIZE, CUDA_BATCH_SIZE = 16, 256


def is_cpu(device: str) -> bool:
    """Whether `device`, as in find_device, is the CPU. Raises UserError as find_device."""
    if device == "cpu" or (device == "auto" and not _may_have_accelerator()):
        return True
    from inceptcli.prediction.engines.torch_engine import find_device

    return find_device(device).type == "cpu"


def _may_have_accelerator() -> bool:
    """Whether importing torch, which takes a second, is worthwhile."""
    if sys.platform == "linux":
        return any(Path(file).exists() for file in ACCELERATORS)
    return sys.platform != "darwin" or platform.machine() == "arm64"


def default_batch_size(weights: Iterable[Path], device: str, crops: int) -> int:
    """Return the default number of crops per batch: BATCH_SIZE or, on CUDA, about CUDA_BATCH_SIZE.

    On CUDA it is a multiple of `crops`: large batches keep a GPU busy, while a CPU computes crop by
    crop. Raises UserError as find_device.
    """
    if all(map(is_onnx, weights)) or is_cpu(device):
        return BATCH_SIZE
    from inceptcli.prediction.engines.torch_engine import find_device

    if find_device(device).type != "cuda":
        return BATCH_SIZE
    return round(CUDA_BATCH_SIZE / crops) * crops


def devices_of(weights: Iterable[Path], device: str, devices: int | Literal["auto"]) -> list[str]:
    """Return the names of the first `devices` devices of a kind; auto means all.

    Raises UsageError if there are fewer, if a device is named by number, or if one of the weights
    is an ONNX file.
    """
    if devices == 1 or (devices == "auto" and any(map(is_onnx, weights))):
        return [device]
    if onnx := next(filter(is_onnx, weights), None):
        raise UsageError(f"--devices {devices}: {onnx} is an ONNX file, which runs on one device")
    kind, there = device, 1
    if not is_cpu(device):
        from inceptcli.prediction.engines.torch_engine import available_devices, find_device

        found = find_device(device)
        kind, there = found.type, available_devices()[found.type] if found.index is None else 1
    wanted = there if devices == "auto" else devices
    if wanted > there:
        raise UsageError(
            f"--devices {devices}: --device {device} has only {there} here; --devices auto uses all"
        )
    return [device] if wanted == 1 else [f"{kind}:{number}" for number in range(wanted)]
