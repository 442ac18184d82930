"""Whatever stands in a file that another program may have written: a result, or one line.

A few examples by default, 2,000 of each kind among the slow tests.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from inceptcli.data.label_files import evaluation_images
from inceptcli.data.preprocessing import Preprocessing
from inceptcli.data.shards.index import index_of
from inceptcli.errors import UserError
from inceptcli.networks.registry import network_options
from inceptcli.plots.history import read_dead_units, read_history
from inceptcli.prediction.merging import Parts
from inceptcli.recipe.file import read
from inceptcli.recipe.schema import check
from inceptcli.weights.file import read_metadata
from inceptcli.weights.metadata import ClassName, WeightsMetadata

CLASSES = ("n0", "n1")
MOST_BYTES = 2 * 1024**3

scalars = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.sampled_from([10**6, 10**52, 10**400, -1, 0, 1e308, "", "x" * 5000, "\ud800", "\0", "a"]),
    some.floats(),
    some.text(max_size=20),
)
values = some.recursive(
    scalars,
    lambda part: some.one_of(
        some.lists(part, max_size=4), some.dictionaries(some.text(max_size=5), part, max_size=3)
    ),
    max_leaves=8,
)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each part of a JSON value."""
    keys: Any = value if isinstance(value, dict) else range(len(value))
    found = []
    for key in keys:
        found.append((*place, key))
        if isinstance(value[key], dict | list):
            found += places(value[key], (*place, key))
    return found


def damaged(whole: dict[str, Any]) -> some.SearchStrategy[bytes]:
    """The value as JSON with some of its parts replaced; also any bytes, or JSON cut short."""

    def replaced(changes: list[tuple[tuple[Any, ...], Any]]) -> bytes:
        result = json.loads(json.dumps(whole))
        for place, value in changes:
            inner = result
            try:
                for key in place[:-1]:
                    inner = inner[key]
                inner[place[-1]] = value
            except (IndexError, KeyError, TypeError):
                continue  # an earlier change took it away
        return json.dumps(result).encode()

    change = some.tuples(some.sampled_from(places(whole)), values)
    changed = some.lists(change, max_size=3).map(replaced)
    return some.one_of(
        changed,
        some.tuples(changed, some.integers(0, 300)).map(lambda pair: pair[0][: -pair[1] or None]),
        values.map(lambda value: json.dumps(value).encode()),
        some.binary(max_size=60),
    )


METADATA = json.loads(
    WeightsMetadata(
        network_options("irv1", num_classes=2),
        tuple(ClassName(name, name) for name in CLASSES),
        Preprocessing((75, 75)),
    ).to_header()["inceptcli"]
)
INDEX = {
    "inceptcli_shard": 1, "bytes": 10240, "members": ["a.png", "b.png"], "positions": [0, 1],
    "offsets": [512, 1536], "sizes": [9, 9], "labels": [0, 1],
}  # fmt: skip
RECORD = {
    "inceptcli_part": 1, "shard": [0, 1], "format": "jsonl",
    "weights": ["0" * 64], "crops": 1, "top_k": 5, "fast_decode": False, "precision": "32-true",
    "finished": {"rows": 1, "unreadable": 0, "inputs": 1, "inputs_sha256": "0" * 64},
}  # fmt: skip
ROW = {
    "path": "a.png", "error": None,
    "predictions": [{"class": "n0", "index": 0, "probability": 0.5}],
}  # fmt: skip
RECIPE = {"network": {"name": "irv1", "repeats": [1, 1, 1]}, "trainer": {"epochs": 1}}

cells = some.one_of(
    some.text(max_size=10),
    some.floats().map(str),
    some.sampled_from(["1", "", "1e300", "nan", "inf", "9" * 5000, '"', "../a.png", "n0", "a.png"]),
)
tables = some.lists(some.lists(cells, max_size=5).map(",".join), max_size=5).map("\n".join)


def table(*headers: str) -> some.SearchStrategy[bytes]:
    with_header = some.tuples(some.sampled_from([*headers, ""]), tables).map("\n".join)
    return some.one_of(
        with_header.map(lambda text: f"{text}\n".encode(errors="replace")),
        some.binary(max_size=60),
    )


def read_weights(folder: Path, content: bytes) -> None:
    text = content.decode(errors="replace")
    header = json.dumps({"__metadata__": {"inceptcli": text}}).encode()
    path = folder / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    metadata = read_metadata(path)
    assert WeightsMetadata.from_header(metadata.to_header()).network == metadata.network


def read_labels(folder: Path, content: bytes) -> None:
    (folder / "l.csv").write_bytes(content)
    assert evaluation_images(folder / "l.csv", CLASSES, CLASSES).images.paths


def read_index(folder: Path, content: bytes) -> None:
    (folder / "s.tar").write_bytes(bytes(10240))
    (folder / "s.tar.json").write_bytes(content)
    found = index_of(folder / "s.tar", {"n0": 0, "n1": 1})
    assert len(found.members) == len(found.labels)


def read_record(folder: Path, content: bytes) -> None:
    (folder / "p.jsonl").write_text(json.dumps(ROW) + "\n")
    (folder / "p.jsonl.json").write_bytes(content)
    list(Parts([folder / "p.jsonl"]).answers())


def read_row(folder: Path, content: bytes) -> None:
    (folder / "p.jsonl").write_bytes(content + b"\n")
    (folder / "p.jsonl.json").write_text(json.dumps(RECORD))
    list(Parts([folder / "p.jsonl"]).answers())


def read_metrics(folder: Path, content: bytes) -> None:
    (folder / "metrics.csv").write_bytes(content)
    (folder / "dead_units.csv").write_bytes(content)
    read_history(folder)
    read_dead_units(folder)


def read_recipe(folder: Path, content: bytes) -> None:
    (folder / "r.yaml").write_bytes(content)
    check(read(folder / "r.yaml"), "r.yaml")


Reader = Callable[[Path, bytes], None]
KINDS: dict[str, tuple[Reader, some.SearchStrategy[bytes]]] = {
    "weights header": (read_weights, damaged(METADATA)),
    "label file": (read_labels, table("path,label", "file,class_index")),
    "index": (read_index, damaged(INDEX)),
    "record": (read_record, damaged(RECORD)),
    "row": (read_row, damaged(ROW)),
    "metrics.csv": (
        read_metrics, table("epoch,step,seconds,train_loss", "epoch,step,stage,share"),
    ),
    "recipe": (read_recipe, damaged(RECIPE)),
}  # fmt: skip


def reason(read_kind: Reader, folder: Path, content: bytes) -> str | None:
    """Why the content is refused, None when it is read; other exceptions are faults."""
    try:
        read_kind(folder, content)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("examples", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_any_content_is_a_result_or_one_line(
    kind: str, examples: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    read_kind, contents = KINDS[kind]
    folder = tmp_path_factory.mktemp("hostile")

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=10_000,  # milliseconds for one example
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(contents)
    def try_one(content: bytes) -> None:
        said = reason(read_kind, folder, content)
        assert said is None or 0 < len(said) < 3000

    before = getrusage(RUSAGE_SELF).ru_maxrss
    try_one()
    grown = getrusage(RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < MOST_BYTES
