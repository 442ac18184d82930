"""What does int8 cost and give? One network in float32, bf16 and int8, by several runtimes.

    python -m tests.benchmarks.int8 WEIGHTS TRAINING_IMAGES IMAGES

WEIGHTS is a run of iv4-tf, irv2-tf or irv1. The ranges of int8 come from TRAINING_IMAGES, for
OpenVINO's NNCF too; accuracy and agreement from all images of the class folders IMAGES. timm, which
lacks irv1, is left out for it. Needs inceptcli[bench]. Writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nncf
import numpy as np
import openvino
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from inceptcli.errors import UserError
from inceptcli.prediction.engines.onnx_engine import OnnxEngine
from inceptcli.prediction.export import export_onnx
from inceptcli.processes.cores import usable_cores
from inceptcli.quantization.images import choose, find
from inceptcli.quantization.quantize import QuantizationRequest
from inceptcli.weights.fetched.published import find_weights
from inceptcli.weights.file import read_metadata
from inceptcli.weights.timm_export import to_timm
from tests.benchmarks.comparison import in_turns, show, write

ROUNDS = {1: 15, 8: 7}
"""Rounds at 299 pixels by batch size; smaller images have more, for about the same time."""
CALIBRATION = 64

Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def by_openvino(model: Any, precision: str) -> Logits:
    """Logits by OpenVINO on a CPU, with its hint for latency."""
    settings = {
        "INFERENCE_NUM_THREADS": usable_cores(),
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    return lambda crops: np.asarray(compiled(crops)["logits"])


def by_timm(weights: Path, folder: Path) -> Logits:
    """Logits by timm as it comes."""
    written = to_timm(weights, folder / "timm.safetensors")
    model = timm.create_model(written.model, num_classes=written.num_classes).eval()
    model.load_state_dict(load_file(folder / "timm.safetensors"))

    def run(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        with torch.inference_mode():
            found: NDArray[np.float32] = model(pixels).numpy()
        return found

    return run


def contestants(
    weights: Path, int8: Path, folder: Path, calibration: NDArray[np.uint8]
) -> dict[str, Logits]:
    """Logits by each; the first is the float32 network."""
    exported = folder / "float32.onnx"
    export_onnx(weights, exported)
    model = openvino.Core().read_model(exported)
    dataset = nncf.Dataset([crop[np.newaxis] for crop in calibration])
    quantized = nncf.quantize(model, dataset, subset_size=len(calibration))
    found = {
        "ours, float32": OnnxEngine(weights, "cpu").logits,
        "ours, int8": OnnxEngine(int8, "cpu").logits,
        "OpenVINO, float32": by_openvino(exported, "f32"),
        "OpenVINO, bf16": by_openvino(exported, "bf16"),
        "OpenVINO, int8 by NNCF": by_openvino(quantized, "f32"),
    }
    try:
        return found | {"timm, as it comes": by_timm(weights, folder)}
    except UserError as error:
        print(error)
        return found


def answers(
    engines: Mapping[str, Logits], crops: NDArray[np.uint8], labels: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Top-1, and agreement with the first on the same images."""
    predicted = {
        name: np.concatenate([logits(crop[np.newaxis]).argmax(1) for crop in crops])
        for name, logits in engines.items()
    }
    first = next(iter(predicted.values()))
    return {
        name: {"top1": float((each == labels).mean()), "agreement": float((each == first).mean())}
        for name, each in predicted.items()
    }


def main() -> None:
    """Compare, print."""
    torch.set_num_threads(usable_cores())
    weights = find_weights(sys.argv[1])
    metadata = read_metadata(weights)
    view = metadata.preprocessing
    height, width = view.image_size

    def chosen(data: str, calibration: int, check: int) -> Any:
        return choose(find(data, weights, metadata), view, calibration, check, 0, lambda _: None)

    request = QuantizationRequest(str(weights), sys.argv[2], CALIBRATION, keep_float="auto")
    setting = chosen(sys.argv[2], CALIBRATION, CALIBRATION).calibration
    measured = chosen(sys.argv[3], 16, 10**6)
    results: dict[str, Any] = {"network": metadata.network.name, "image_size": view.image_size}
    with TemporaryDirectory() as name:
        begun = time.perf_counter()
        made = request.prepare().run(Path(name))
        results["quantization_seconds"] = time.perf_counter() - begun
        results["bytes"], results["bytes_float"] = made.bytes, made.bytes_float
        results["kept_float"] = made.kept_float
        engines = contestants(weights, made.file, Path(name), setting)
        results["images"] = len(measured.check)
        results["answers"] = answers(engines, measured.check, measured.labels)
        for label, row in results["answers"].items():
            print(f"  {label:28} top-1 {row['top1']:.2%}, agreement {row['agreement']:.2%}")
        for batch, rounds in ROUNDS.items():
            crops = measured.check[:batch]
            turns = {label: partial(run, crops) for label, run in engines.items()}
            found = in_turns(turns, rounds * 299**2 // (height * width), time.perf_counter)
            show(f"batch {batch}", found)
            results[f"batch {batch}"] = found
    packages = "torch", "timm", "onnxruntime", "openvino", "nncf"
    write(f"int8_{metadata.network.name}", packages, results)


if __name__ == "__main__":
    main()
