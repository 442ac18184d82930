"""Write a folder of heat map overlays, and a CSV table of the same results."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePath

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.files.atomic_file import replacing
from inceptcli.plots.overlay import overlay
from inceptcli.prediction.heat_maps import HeatMapFocus, HeatMaps, locate
from inceptcli.prediction.inputs import Source
from inceptcli.prediction.predict import Answer, Keep, Seen
from inceptcli.prediction.recorded_options import DEFAULT_OPTIONS, RecordedOptions
from inceptcli.text import defused
from inceptcli.weights.metadata import ClassName

TABLE_NAME = "explanations.csv"

COLUMNS = (
    "path", "class", "index", "probability", "overlay", "center_x", "center_y",
    "left", "top", "right", "bottom", "error",
)  # fmt: skip

LONGEST_NAME = 40
QUALITY = 92


@contextmanager
def explanations(
    folder: Path,
    maps: HeatMaps,
    classes: Sequence[ClassName],
    index: int | None,
    recorded: RecordedOptions = DEFAULT_OPTIONS,
) -> Iterator[Keep]:
    """Write each image's overlay into `folder`, and a row per image into the table.

    Explain the class `index`, or the most probable class of each image if it is None. The table has
    COLUMNS, one row per image in input order. Positions are in pixels of the upright image, empty
    if there is no evidence for the class. The last columns are the `recorded` options. The table
    appears when the block ends.
    """
    numbers = count(1)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        replacing(folder / TABLE_NAME) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        table = csv.writer(file)
        said = recorded.as_texts()
        last = said.values()
        table.writerow((*COLUMNS, *said))

        def explain(source: Source, seen: Seen | UnreadableImage, _: Answer) -> None:
            number = next(numbers)
            if isinstance(seen, UnreadableImage):
                empty = [""] * (len(COLUMNS) - 2)
                table.writerow((defused(source.path), *empty, defused(str(seen)), *last))
                return
            explained = int(seen.probabilities.argmax()) if index is None else index
            (view,) = seen.views[0]
            heat = maps.heat(view, explained)
            name = overlay_name(number, source.path)
            with replacing(folder / name) as temporary_jpeg:
                overlay(view, heat).save(temporary_jpeg, "JPEG", quality=QUALITY, subsampling=0)
            table.writerow(
                (
                    defused(source.path),
                    defused(classes[explained].name),
                    explained,
                    float(seen.probabilities[explained]),
                    name,
                    *_numbers(locate(heat, maps.preprocessing.source_box(*seen.size))),
                    "",
                    *last,
                )
            )

        yield explain


def overlay_name(number: int, path: str) -> str:
    """Return a unique file name for the answer of this number, safe for any path."""
    stem = re.sub(r"[^\w.-]", "_", PurePath(path).stem)[:LONGEST_NAME]
    return f"{number:06}-{stem}.jpg"


def _numbers(place: HeatMapFocus | None) -> list[str]:
    if place is None:
        return [""] * 6
    return [*(f"{value:.1f}" for value in place.center), *map(str, place.box)]
