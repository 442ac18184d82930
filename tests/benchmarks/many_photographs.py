"""How long do 500 photographs take, as a whole process? Beside timm with its own loader, batch 16.

    python -m tests.benchmarks.many_photographs PHOTOGRAPHS

irv2-tf at 299 pixels, the same random weights from a file, as many threads as there are processors.
The answers must be the same. Counts CPU and wall seconds. Needs inceptcli[bench]. Writes JSON to
tests/benchmarks/results/.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from safetensors.torch import save_file

from inceptcli.prediction.export import export_onnx
from inceptcli.weights.foreign.importing import convert
from tests.benchmarks.comparison import cpu_of_children, write
from tests.benchmarks.training_input import photographs

IMAGES = 500

TIMM = """
import json, sys
import timm, timm.data, torch
if __name__ == "__main__":
    model = timm.create_model("inception_resnet_v2", checkpoint_path=sys.argv[1]).eval()
    config = timm.data.resolve_model_data_config(model)
    dataset = timm.data.ImageDataset(sys.argv[2])
    loader = timm.data.create_loader(
        dataset, config["input_size"], 16, interpolation=config["interpolation"],
        mean=config["mean"], std=config["std"], crop_pct=config["crop_pct"],
        device=torch.device("cpu"), num_workers=4,
    )
    with torch.inference_mode():
        for images, _ in loader:
            for index in model(images).argmax(1).tolist():
                print(index)
"""


def main() -> None:
    """Compare, print."""
    found: dict[str, Any] = {}
    answers: dict[str, list[int]] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        photographs(Path(sys.argv[1]), folder, IMAGES)
        theirs, ours, exported = (
            folder / file for file in ("a.safetensors", "b.safetensors", "c.onnx")
        )
        torch.manual_seed(0)
        save_file(timm.create_model("inception_resnet_v2").state_dict(), theirs)
        convert(theirs, ours)
        export_onnx(ours, exported)
        (folder / "timm_script.py").write_text(TIMM)
        predict = [
            "-m",
            "inceptcli",
            "predict",
            str(folder / "one"),
            "--format",
            "jsonl",
            "--quiet",
        ]
        contestants = {
            "timm": [str(folder / "timm_script.py"), str(theirs), str(folder)],
            "predict, .onnx": [*predict, "--weights", str(exported)],
            "predict, weights file": [*predict, "--weights", str(ours)],
        }
        for contestant, arguments in contestants.items():
            cpu, wall = cpu_of_children(), time.perf_counter()
            command = [sys.executable, *arguments]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            cpu, wall = cpu_of_children() - cpu, time.perf_counter() - wall
            answers[contestant] = [
                entry if isinstance(entry, int) else entry["predictions"][0]["index"]
                for entry in map(json.loads, printed.splitlines())
            ]
            found[contestant] = {"cpu_seconds": cpu, "wall_seconds": wall}
            print(f"{contestant}: {cpu:.1f} CPU seconds, {wall:.1f} s", flush=True)
    for contestant, given in answers.items():
        same = sum(one == other for one, other in zip(given, answers["timm"], strict=True))
        if same < 0.99 * IMAGES:
            raise SystemExit(f"{contestant}: {same} of {IMAGES} answers are timm's, no figures")
        taken = found[contestant]["wall_seconds"]
        print(f"{contestant}: {found['timm']['wall_seconds'] / taken:.2f}x by the clock")
    write("many_photographs", ("torch", "timm", "onnxruntime"), {"images": IMAGES, **found})


if __name__ == "__main__":
    main()
