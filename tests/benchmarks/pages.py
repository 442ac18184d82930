"""How large are the pages, and how long does Chromium take to open and sort them?

    python -m tests.benchmarks.pages PHOTOGRAPHS

A report of 1000 classes and 50,000 made-up results, and a gallery of 6,000 answers on the pictures
of a folder, over and over. Writes JSON to tests/benchmarks/results/.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from inceptcli.data.folders import find_images
from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.outputs.gallery import Gallery
from inceptcli.prediction.predict import Answer, Prediction
from tests.benchmarks.comparison import write
from tests.evaluation.made_results import made_results, written
from tests.pages.browser import WIDE, Page, browser

TIMES, ANSWERS = 5, 6000
PRESSES = {
    "report": "document.querySelector('#per-class th:nth-child(3) button').click()",
    "gallery": """
        const order = document.querySelector("[name=order]");
        order.value = "sure";
        order.dispatchEvent(new Event("input", {bubbles: true}))""",
}


def gallery(photographs: Path, file: Path) -> None:
    """The page of ANSWERS answers."""
    answers = (
        Answer(str(path), tuple(Prediction(f"class {n}", n, n % 97 / 97) for n in range(i, i + 5)))
        for i, path in enumerate(islice(cycle(find_images(photographs)), ANSWERS))
    )
    with Gallery() as collected, file.open("w", encoding="utf-8") as stream:
        for answer in answers:
            collected.keep(Source(answer.path), UnreadableImage(), answer)
        collected.write(stream, ["made up"], 1)


def timed(page: Page, file: Path, press: str) -> tuple[float, float]:
    """Seconds until the page is complete, and from a press until all is sorted and laid out."""
    page.open(file)
    opened = page.run("return performance.getEntriesByType('navigation')[0].loadEventEnd")
    pressed = page.run(
        f"const start = performance.now(); {press};"
        "document.body.getBoundingClientRect(); return performance.now() - start"
    )
    return opened / 1000, pressed / 1000


def main() -> None:
    """Write, open, sort, print."""
    found: dict[str, object] = {}
    with TemporaryDirectory() as folder, browser() as page:
        page.resize(*WIDE)
        files = {"gallery": Path(folder) / "gallery.html"}
        start = time.perf_counter()
        gallery(Path(sys.argv[1]), files["gallery"])
        found["gallery_seconds"] = time.perf_counter() - start
        found["gallery_peak_megabytes"] = (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        )
        files["report"] = written(Path(folder), made_results(1000, 50_000))
        for name, file in files.items():
            pairs = [timed(page, file, PRESSES[name]) for _ in range(TIMES)]
            opened, pressed = (statistics.median(column) for column in zip(*pairs, strict=True))
            size = file.stat().st_size / 1e6
            found[name] = {"megabytes": size, "open_seconds": opened, "sort_seconds": pressed}
            print(f"{name}: {size:.1f} MB, opened in {opened:.2f} s, sorted in {pressed:.2f} s")
    print(json.dumps(found, indent=2))
    write("pages", ("selenium",), found)


if __name__ == "__main__":
    main()
