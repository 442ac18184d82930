"""What does `--fast-decode` save, and what does it change?

    python -m tests.benchmarks.fast_decode PHOTOGRAPHS [WEIGHTS]

Decoding and cutting for one crop of 299 pixels, from JPEGs (quality 92) of the photographs enlarged
to each size; CPU seconds of this process. The crops must not differ by more than 2 of 255 in the
mean. With weights also the largest change of a probability over the photographs as they are.
Writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inceptcli.data.folders import find_images
from inceptcli.data.pixels.decode import UnreadableImage, decode
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.prediction.ensemble import EnsembleRequest
from tests.benchmarks.comparison import in_turns, show, write

SIZES = ((6000, 4000), (3000, 2000), (1500, 1000), (1000, 750))
NETWORK, IMAGES, ROUNDS = Preprocessing((299, 299)), 8, 7


def encoded(image: Image.Image, size: tuple[int, int]) -> bytes:
    """A JPEG of this size."""
    file = BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    return file.getvalue()


def cut_all(files: list[bytes], shorter_side: int | None) -> list[np.ndarray]:
    """The network's view of each."""
    return [NETWORK.crop(decode(file, shorter_side)) for file in files]


def changes(paths: list[Path], weights: Path) -> dict[str, Any]:
    """Of all photographs that are decoded smaller: how far a probability moves, and the answer."""
    ensemble = EnsembleRequest((str(weights),), device="cpu").find().load()
    moved, other = [], 0
    for path in paths:
        views = [decode(path), decode(path, ensemble.needed_side)]
        if views[0].shape == views[1].shape:
            continue
        whole, fast = ensemble.probabilities([ensemble.cut(view) for view in views])
        moved.append(float(np.abs(whole - fast).max()))
        other += int(whole.argmax() != fast.argmax())
    return {
        "images": len(moved),
        "largest": max(moved),
        "median": float(np.median(moved)),
        "other answers": other,
    }


def main() -> None:
    """Compare, print."""
    photographs = []
    for path in find_images(Path(sys.argv[1])):
        try:
            decode(path)
        except UnreadableImage:
            continue
        photographs.append(path)
    found: dict[str, Any] = {}
    chosen = [Image.fromarray(decode(path)) for path in photographs[:: len(photographs) // IMAGES]]
    for size in SIZES:
        files = [encoded(image, size) for image in chosen[:IMAGES]]
        ways: dict[str, Callable[[], list[np.ndarray]]] = {
            "whole": partial(cut_all, files, None),
            "fast": partial(cut_all, files, NETWORK.needed_side),
        }
        apart = [
            np.abs(one.astype(int) - other)
            for one, other in zip(ways["whole"](), ways["fast"](), strict=True)
        ]
        mean, largest = float(np.mean(apart)), int(np.max(apart))
        if mean > 2:
            raise SystemExit(f"{size}: crops differ by {mean:.2f} of 255, no figures")
        title = f"{size[0]}x{size[1]}"
        timed = in_turns(ways, ROUNDS)
        show(f"{title}, {IMAGES} images; crops differ by {mean:.2f}, at most {largest}", timed)
        found[title] = {"mean": mean, "largest": largest, "contestants": timed}
    if len(sys.argv) > 2:
        found["probabilities"] = changes(photographs, Path(sys.argv[2]))
        print(found["probabilities"])
    write("fast_decode", ("pillow", "simplejpeg"), {"images": IMAGES, **found})


if __name__ == "__main__":
    main()
