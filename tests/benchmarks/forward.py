"""How fast are the engines beside timm's networks? irv2-tf and iv4-tf at 299 pixels, all cores.

    python -m tests.benchmarks.forward

Both have the same random weights, imported as `inceptcli import` does it; where logits differ by
more than 1e-4 of their deviation there is no figure. Also prints which share of float32 matrix
multiplication, measured in the same run, an engine reaches. Needs inceptcli[bench]. Writes JSON to
tests/benchmarks/results/.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from inceptcli.prediction.engines.engine import load_engine
from inceptcli.prediction.export import export_onnx
from inceptcli.processes.cores import usable_cores
from inceptcli.weights.foreign.importing import convert
from tests.benchmarks.comparison import in_turns, show, write
from tests.benchmarks.multiplication import MATRICES, multiplication, shares

NETWORKS = {"irv2-tf": "inception_resnet_v2", "iv4-tf": "inception_v4"}
ROUNDS = {1: 11, 8: 5}
LARGEST_DIFFERENCE = 1e-4

Forward = Callable[[], NDArray[np.float32]]


def engines(peer: str, folder: Path, images: NDArray[np.uint8]) -> dict[str, Forward]:
    """Logits of the images by each; the first is timm as it comes."""
    torch.manual_seed(0)
    theirs = timm.create_model(peer).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    source, ours, exported = (
        folder / name for name in ("a.safetensors", "b.safetensors", "c.onnx")
    )
    save_file(theirs.state_dict(), source)
    convert(source, ours)
    export_onnx(ours, exported)
    settings = {  # by default it computes in bfloat16 where the processor can
        "INFERENCE_NUM_THREADS": usable_cores(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(exported, "CPU", settings)
    usual = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()
    last = usual.to(memory_format=torch.channels_last)
    theirs_last = timm.create_model(peer).eval()
    theirs_last.load_state_dict(theirs.state_dict())
    theirs_last.to(memory_format=torch.channels_last)
    theirs_compiled = torch.compile(theirs_last)

    def run_on(model: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor) -> Forward:
        def run() -> NDArray[np.float32]:
            with torch.inference_mode():
                found: NDArray[np.float32] = model(pixels).numpy()
            return found

        return run

    batch = len(images)
    engine = load_engine(ours, "cpu", batch_size=batch)
    onnx_engine = load_engine(exported, "cpu", batch_size=batch)
    torch_engine = load_engine(ours, "cpu", batch_size=batch, gradients=True)
    return {
        "timm, as it comes": run_on(theirs, usual),
        "timm, channels last": run_on(theirs_last, last),
        "timm, channels last, compiled": run_on(theirs_compiled, last),
        "ours, weights file": lambda: engine.logits(images),
        "ours, exported (.onnx)": lambda: onnx_engine.logits(images),
        "ours, torch, for heat maps": lambda: torch_engine.logits(images),
        "OpenVINO on our .onnx": lambda: np.asarray(compiled(images)[0]),
    }


def main() -> None:
    """Compare, print."""
    torch.set_num_threads(usable_cores())
    results: dict[str, Any] = {}
    for name, peer in NETWORKS.items():
        for batch, rounds in ROUNDS.items():
            images = np.random.default_rng(0).integers(0, 256, (batch, 299, 299, 3), np.uint8)
            with TemporaryDirectory() as folder:
                contestants = engines(peer, Path(folder), images)
            expected = next(iter(contestants.values()))()
            for contestant, run in list(contestants.items()):
                difference = float(np.abs(run() - expected).max() / expected.std())
                if difference > LARGEST_DIFFERENCE:
                    print(f"{contestant}: logits differ by {difference:.1e}, no figure")
                    del contestants[contestant]
            turns = {**contestants, MATRICES: multiplication()}
            found = in_turns(turns, rounds, time.perf_counter)
            title = f"{name}, batch {batch}"
            show(title, found)
            reached = shares(found, name, batch)
            results[title] = {"contestants": found, "share_of_matrix_multiplication": reached}
    write("forward", ("torch", "timm", "onnxruntime", "openvino"), results)


if __name__ == "__main__":
    main()
