"""How long do usage and one photo take, as whole processes? Beside `import torch` and timm.

    python -m tests.benchmarks.start PHOTOGRAPH IMAGES

`predict` answers with irv2-tf at 299 pixels, random weights; the peer is the shortest script that
does the same with timm. Both read their weights from a file. The ranges of the int8 network come
from the folder IMAGES. The shortest script with ONNX Runtime, which checks and names nothing, is
the least time for an int8 file. Counts seconds by the clock. Needs inceptcli[bench]. Writes JSON to
tests/benchmarks/results/.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import timm
import torch
from safetensors.torch import save_file

from inceptcli.prediction.export import export_onnx
from inceptcli.weights.foreign.importing import convert
from tests.benchmarks.comparison import in_turns, show, write

ROUNDS = 9

TIMM = """
import json, sys
import timm, torch
from PIL import Image
model = timm.create_model("inception_resnet_v2", checkpoint_path=sys.argv[1]).eval()
config = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**config, is_training=False)
with torch.inference_mode():
    logits = model(transform(Image.open(sys.argv[2]).convert("RGB"))[None])
best = logits.softmax(1).topk(5)
print(json.dumps({"predictions": [{"index": index} for index in best.indices[0].tolist()]}))
"""

RUNTIME = """
import sys
import numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
pixels = np.asarray(Image.open(sys.argv[2]).convert("RGB").resize((299, 299)))
logits, features = session.run(None, {"images": pixels[None]})
print(np.argsort(-logits[0])[:5])
"""


def process(*arguments: object) -> Callable[[], str]:
    """Runs Python with these arguments; what it prints."""
    words = [sys.executable, *map(str, arguments)]
    return lambda: subprocess.run(words, capture_output=True, text=True, check=True).stdout


def best(printed: str) -> list[int]:
    """The places of the classes named, most probable first."""
    return [each["index"] for each in json.loads(printed)["predictions"]]


def main() -> None:
    """Compare, print."""
    photograph = Path(sys.argv[1])
    usage = {
        "import torch": process("-c", "import torch"),
        "inceptcli --help": process("-m", "inceptcli", "--help"),
        "inceptcli train --help": process("-m", "inceptcli", "train", "--help"),
    }
    with TemporaryDirectory() as name:
        theirs, ours, exported, int8 = (
            Path(name) / file for file in ("a.safetensors", "b.safetensors", "c.onnx", "d.onnx")
        )
        torch.manual_seed(0)
        save_file(timm.create_model("inception_resnet_v2").state_dict(), theirs)
        convert(theirs, ours)
        export_onnx(ours, exported)
        few = ("--calibration-images", 16, "--check-images", 16)
        process(
            "-m", "inceptcli", "quantize", ours, "--images", sys.argv[2], "--output", int8, *few
        )()

        def predict(weights: Path) -> Callable[[], str]:
            flags = ("--weights", weights, "--device", "cpu", "--format", "jsonl", "--quiet")
            return process("-m", "inceptcli", "predict", photograph, *flags)

        photo = {
            "timm, a minimal script": process("-c", TIMM, theirs, photograph),
            "predict, weights file": predict(ours),
            "predict, .onnx": predict(exported),
        }
        answers = {name: best(run()) for name, run in photo.items()}
        # Five classes of random weights may change places.
        photo["predict, int8"] = predict(int8)
        if len({*map(tuple, answers.values())}) > 1:
            raise SystemExit(f"the answers differ, no figures: {answers}")
        photo["ONNX Runtime, int8, a minimal script"] = process("-c", RUNTIME, int8, photograph)
        found = {
            "usage": in_turns(usage, ROUNDS, time.perf_counter),
            "one photo": in_turns(photo, ROUNDS, time.perf_counter),
        }
    for title, rows in found.items():
        show(title, rows)
    write("start", ("torch", "timm", "onnxruntime"), found)


if __name__ == "__main__":
    main()
