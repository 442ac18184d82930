"""How fast does a GPU answer? irv2-tf at 299 pixels, the same random weights, beside timm.

    python -m tests.benchmarks.gpu_prediction PHOTOGRAPHS [--images N] [--only PART ...]

- forward: crops on the device to logits, eager and compiled, in each precision, beside timm as it
  comes, and at its best (bfloat16, channels last, compiled), and which share of the roofline it is.
- decode: how many crops a second are decoded and cut, by threads and by processes.
- predict: a folder of 20,000 JPEGs of 500x375 pixels to a file of answers, the whole process,
  beside timm's loader and network with the defaults of timm's `inference.py` (float32, batch 256,
  two workers) and at its best (bfloat16, channels last, compiled, a worker for each processor).
- crops: `eval --crops 144`, images a second, the whole process.

Without CUDA it says so and writes nothing. Needs inceptcli[bench]. Writes JSON to
tests/benchmarks/results/.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from inceptcli.data.folders import find_images
from inceptcli.data.pixels.crops import cut
from inceptcli.data.pixels.decode import decode
from inceptcli.prediction.engines.torch_engine import CudaEngine, TorchEngine
from inceptcli.prediction.readers import readers
from inceptcli.prediction.recorded_options import Precision
from inceptcli.processes.cores import usable_cores
from inceptcli.weights.file import load_network, read_metadata
from inceptcli.weights.foreign.importing import convert
from tests.benchmarks.comparison import RESULTS, in_turns, show, write
from tests.benchmarks.gpu import Roofline

PEER, SIDE, BATCH, ROUNDS = "inception_resnet_v2", 299, 256, 5
PARTS = ("decode", "forward", "crops", "predict")
IMAGES, FOR_CROPS, FOR_DECODING = 20_000, 400, 3_000

TIMM = """
import argparse, csv, sys
import timm, timm.data, torch
if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("weights"), options.add_argument("folder"), options.add_argument("output")
    options.add_argument("--workers", type=int), options.add_argument("--best", action="store_true")
    chosen = options.parse_args()
    model = timm.create_model("inception_resnet_v2", checkpoint_path=chosen.weights).eval().cuda()
    config = timm.data.resolve_model_data_config(model)
    dtype = torch.bfloat16 if chosen.best else torch.float32
    if chosen.best:
        model = torch.compile(model.to(dtype, memory_format=torch.channels_last))
    dataset = timm.data.ImageDataset(chosen.folder)
    loader = timm.data.create_loader(
        dataset, config["input_size"], 256, interpolation=config["interpolation"],
        mean=config["mean"], std=config["std"], crop_pct=config["crop_pct"],
        device=torch.device("cuda"), num_workers=chosen.workers, img_dtype=dtype,
    )
    names = iter(dataset.filenames())
    with torch.inference_mode(), open(chosen.output, "w") as file:
        table = csv.writer(file)
        for images, _ in loader:
            if chosen.best:
                images = images.to(memory_format=torch.channels_last)
            top = model(images).float().softmax(1).topk(5)
            for values, classes in zip(top.values.tolist(), top.indices.tolist()):
                table.writerow([next(names), *values, *classes])
"""


def saved(folder: Path) -> tuple[Path, Path]:
    """The same weights as timm's file and as ours."""
    torch.manual_seed(0)
    theirs, ours = folder / "timm.safetensors", folder / "ours.safetensors"
    save_file(timm.create_model(PEER).state_dict(), theirs)
    convert(theirs, ours)
    return theirs, ours


def forward(theirs: Path, ours: Path) -> Iterator[tuple[str, Any]]:
    """Seconds of a batch on the device, eager and compiled; the shares of the roofline."""
    device = torch.device("cuda")
    images = torch.randint(0, 256, (BATCH, SIDE, SIDE, 3), dtype=torch.uint8, device=device)
    images = images.permute(0, 3, 1, 2)
    read = images.to(torch.bfloat16).div_(127.5).sub_(1)

    def peer(dtype: torch.dtype, compiled: bool) -> Callable[[], Tensor]:
        model = timm.create_model(PEER, checkpoint_path=str(theirs)).eval().to(device, dtype)
        given = read.float().contiguous()
        if dtype != torch.float32:
            model, given = model.to(memory_format=torch.channels_last), read
        run = torch.compile(model) if compiled else model
        return lambda: run(given)

    contestants = {
        "timm, as it comes": peer(torch.float32, compiled=False),
        "timm, bf16, channels last": peer(torch.bfloat16, compiled=False),
        "timm, the same, compiled": peer(torch.bfloat16, compiled=True),
    }
    plain: tuple[Precision, ...] = ("32-true", "bf16-mixed", "bf16-true")
    for precision in plain:
        contestants[f"ours, {precision}"] = _ours(ours, precision, images, False)
    contestants["ours, bf16-mixed, compiled"] = _ours(ours, "bf16-mixed", images, True)
    ready = {name: _on_device(run) for name, run in contestants.items()}
    found = in_turns(ready, ROUNDS, time.perf_counter)
    show(f"forward, batch {BATCH}", found)
    network = load_network(ours)[0].to(device).eval()
    roofline = Roofline(device).of(network, read, trained=False)
    shares = {name: roofline / row["seconds"]["median"] for name, row in found.items()}
    for name, row in found.items():
        rate = BATCH / row["seconds"]["median"]
        print(f"  {name:28} {rate:8.0f} images/s, {shares[name]:.2f} of the roofline", flush=True)
    yield from {"batch": BATCH, "contestants": found, "roofline": shares}.items()


def _ours(weights: Path, precision: Precision, images: Tensor, compiled: bool) -> Callable[[], Any]:
    engine = TorchEngine.load(
        weights, "cuda", at_once=BATCH, compile_network=compiled, precision=precision
    )
    assert isinstance(engine, CudaEngine)
    return lambda: engine.on_device(images)


def _on_device(run: Callable[[], Any]) -> Callable[[], None]:
    def timed() -> None:
        with torch.inference_mode():
            for _ in range(3):
                run()
        torch.cuda.synchronize()

    return timed


def decoding(files: list[Path], weights: Path) -> Iterator[tuple[str, float]]:
    """Crops a second by number of threads, and by a process for each processor."""
    preprocessing = read_metadata(weights).preprocessing

    def read(path: Path) -> tuple[int, ...]:
        return cut(decode(path), preprocessing, 1).shape

    for threads in dict.fromkeys([1, 4, min(8, usable_cores()), usable_cores(), None]):
        title = f"{threads} threads" if threads else "as `predict` reads them"
        number = FOR_DECODING // 5 if threads == 1 else FOR_DECODING
        begun = time.perf_counter()
        with readers(read, threads, fast=True) as (reading, at_once):
            for _ in _mapped(reading, islice(cycle(files), number), at_once):
                pass
        rate = number / (time.perf_counter() - begun)
        print(f"decode and cut, {title}: {rate:.0f} a second", flush=True)
        yield title, rate


def _mapped(read: Callable[[Path], Any], files: Iterable[Path], threads: int) -> Iterator[Any]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(read, files)


def photographs(source: Path, folder: Path, number: int) -> list[Path]:
    """So many files of 500x375 pixels in `folder`, hard links of the photographs, resized."""
    folder.mkdir()
    paths: list[Path] = []
    for image in find_images(source):
        paths.append(folder / f"{len(paths):06}.jpg")
        Image.fromarray(decode(image)).resize((500, 375)).save(paths[-1], quality=92)
    originals = list(paths)
    for place in range(len(originals), number):
        paths.append(folder / f"{place:06}.jpg")
        paths[-1].hardlink_to(originals[place % len(originals)])
    return paths[:number]


def seconds(arguments: list[str]) -> float:
    """Of a whole process, which must succeed."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def predicting(
    folder: Path, images: int, theirs: Path, ours: Path
) -> Iterator[tuple[str, dict[str, float]]]:
    """Whole processes, one run each: seconds, and images a second."""
    (folder / "timm_script.py").write_text(TIMM)
    timm_script = [str(folder / "timm_script.py"), str(theirs), str(folder / "photographs")]
    cores = str(usable_cores())
    predict = ["-m", "inceptcli", "predict", str(folder / "photographs"), "--quiet"]
    predict += ["--weights", str(ours), "--output", str(folder / "ours.csv")]
    plain = str(folder / "timm.csv")
    best = [str(folder / "best.csv"), "--best", "--workers", cores]
    runs = {
        "predict, bf16-mixed": [*predict, "--precision", "bf16-mixed"],
        "timm, defaults of inference.py": [*timm_script, plain, "--workers", "2"],
        "predict, bf16-mixed, compiled": [*predict, "--precision", "bf16-mixed", "--compile"],
        "timm, at its best": [*timm_script, *best],
        "predict, 32-true": predict,
        "predict, bf16-mixed, fast decode": [
            *predict, "--precision", "bf16-mixed", "--fast-decode"
        ],
    }  # fmt: skip
    for name, arguments in runs.items():
        taken = seconds(arguments)
        print(f"{name}: {taken:.1f} s, {images / taken:.0f} images/s", flush=True)
        yield name, {"seconds": taken, "images_per_second": images / taken}


def many_crops(folder: Path, ours: Path, files: list[Path]) -> Iterator[tuple[str, float]]:
    """`eval --crops 144` of many labeled images less the same of few: images a second."""
    classes = [entry.id for entry in read_metadata(ours).classes]
    rates = []
    for number in (FOR_CROPS // 10, FOR_CROPS):
        labels = folder / f"labels-{number}.csv"
        rows = [f"photographs/{path.name},{classes[0]}" for path in files[:number]]
        labels.write_text("path,label\n" + "\n".join(rows) + "\n")
        arguments = ["-m", "inceptcli", "eval", str(ours), "--data", str(labels), "--quiet"]
        arguments += ["--format", "json"]
        taken = seconds([*arguments, "--crops", "144", "--precision", "bf16-mixed"])
        rates.append((number, taken))
    (few, sooner), (many, later) = rates
    rate = (many - few) / (later - sooner)
    print(f"eval --crops 144, bf16-mixed: {rate:.1f} images/s", flush=True)
    yield "bf16-mixed", rate


def main() -> None:
    """Measure, print, write."""
    if not torch.cuda.is_available():
        print("no CUDA device here: no figures")
        return
    arguments = ArgumentParser()
    arguments.add_argument("photographs", type=Path)
    arguments.add_argument("--images", type=int, default=IMAGES)
    arguments.add_argument("--only", nargs="+", default=PARTS)
    chosen = arguments.parse_args()
    about = {"device": torch.cuda.get_device_name(), "processors": usable_cores()}
    results: dict[str, Any] = {**about, **_parts_measured(about)}
    with TemporaryDirectory() as name:
        folder = Path(name)
        theirs, ours = saved(folder)
        files = photographs(chosen.photographs, folder / "photographs", chosen.images)
        parts: dict[str, Callable[[], Iterator[tuple[str, Any]]]] = {
            "decode": lambda: decoding(files, ours),
            "forward": lambda: forward(theirs, ours),
            "crops": lambda: many_crops(folder, ours, files),
            "predict": lambda: predicting(folder, len(files), theirs, ours),
        }
        for part in chosen.only:
            results[part] = {}
            for title, found in parts[part]():
                results[part][title] = found
                write("gpu_prediction", ("torch", "timm"), results)


def _parts_measured(about: Mapping[str, Any]) -> dict[str, Any]:
    """What is on file of the same device: parts may be measured one by one."""
    try:
        there = json.loads((RESULTS / "gpu_prediction.json").read_text())
    except FileNotFoundError:
        return {}
    same = all(there[name] == value for name, value in about.items())
    return {name: there[name] for name in PARTS if same and name in there}


if __name__ == "__main__":
    main()
