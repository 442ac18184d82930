"""Whatever stands in a file that another program may have written: a result, or one line.

The commands themselves read it, so that an exception is seen which a reader raises and no command
expects. A few examples by default, 100 of each kind among the slow tests, and as many as
INCEPTCLI_EXAMPLES says: 2,000 take a quarter of an hour.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import network_options
from inceptcli.prediction.shares.part_record import RECORD_NAME, PathDigest
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.cli.conftest import inceptcli
from tests.prediction.conftest import draw, save_small_network

MANY = int(os.environ.get("INCEPTCLI_EXAMPLES", "100"))

CLASSES = ("n0", "n1")
MOST_BYTES = 2 * 1024**3

CPU_SECONDS, SECONDS = 10, 120
"""What ends a run that hangs: an example takes a small part of a second."""

DOCUMENTED = {0, 1, 2}
"""Exit codes of commands that nothing interrupts."""

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
    "inceptcli_part": 3, "share": [0, 1], "format": "jsonl",
    "weights": ["0" * 64], "crops": 1, "top_k": 5,
    "recorded": {"fast_decode": False, "precision": "32-true"},
}  # fmt: skip
ROW = {
    "path": "a.png", "error": None,
    "predictions": [{"class": "n0", "index": 0, "probability": 0.5}],
}  # fmt: skip
PATHS = PathDigest()
PATHS.add("a.png")
RECORD["finished"] = {  # as the part has it, so that it is read to its end
    "inputs": 1, "inputs_sha256": PATHS.hexdigest()
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


def write_weights(folder: Path, content: bytes) -> list[str]:
    text = content.decode(errors="replace")
    header = json.dumps({"__metadata__": {"inceptcli": text}}).encode()
    (folder / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return ["predict", "a.png", "--weights", "w.safetensors", "--device", "cpu", "--quiet"]


def write_labels(folder: Path, content: bytes) -> list[str]:
    (folder / "l.csv").write_bytes(content)
    return ["eval", "run", "--data", "l.csv", "--device", "cpu", "--quiet", "--skip-unreadable"]


def write_index(folder: Path, content: bytes) -> list[str]:
    (folder / "s.tar").write_bytes(bytes(10240))
    (folder / "s.tar.json").write_bytes(content)
    return ["predict", "s.tar", "--weights", "run", "--device", "cpu", "--quiet"]


def write_record(folder: Path, content: bytes) -> list[str]:
    return _part(folder, content, json.dumps(ROW).encode())


def write_row(folder: Path, content: bytes) -> list[str]:
    return _part(folder, json.dumps(RECORD).encode(), content)


def _part(folder: Path, record: bytes, row: bytes) -> list[str]:
    (folder / "part").mkdir(exist_ok=True)
    (folder / "part" / RECORD_NAME).write_bytes(record)
    (folder / "part/rows-000000000-000000000.jsonl").write_bytes(row + b"\n")
    return ["merge", "part", "--format", "csv", "--quiet"]


def write_metrics(folder: Path, content: bytes) -> list[str]:
    (folder / "run/metrics.csv").write_bytes(content)
    return ["compare", "run"]


def write_recipe(folder: Path, content: bytes) -> list[str]:
    """With a run in the way, so that what is right is not trained."""
    (folder / "r.yaml").write_bytes(content)
    return ["train", "--recipe", "r.yaml", "--output", "trained", "--resume", "never"]


KINDS: dict[str, tuple[Callable[[Path, bytes], list[str]], some.SearchStrategy[bytes]]] = {
    "weights header": (write_weights, damaged(METADATA)),
    "label file": (write_labels, table("path,label", "file,class_index")),
    "index": (write_index, damaged(INDEX)),
    "record": (write_record, damaged(RECORD)),
    "row": (write_row, damaged(ROW)),
    "metrics.csv": (write_metrics, table("epoch,step,seconds,train_loss,val_top1")),
    "recipe": (write_recipe, damaged(RECIPE)),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with weights, another one that is only begun, and a picture."""
    folder = tmp_path_factory.mktemp("hostile")
    save_small_network(folder / "weights")
    (folder / "run").mkdir()
    shutil.move(folder / "weights", folder / "run/model.safetensors")
    (folder / "trained").mkdir()
    (folder / "trained/recipe.yaml").write_text("network: irv1\n")
    draw(folder / "a.png", 0)
    return folder


@contextmanager
def watched() -> Iterator[None]:
    """Ends this process where the block computes, or waits, far longer than any example does."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # its signal kills
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def check(arguments: list[str]) -> None:
    with watched():
        done = inceptcli(*arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in DOCUMENTED, done.output
    errors = [line for line in done.stderr.splitlines() if "Error" in line]
    assert bool(errors) == (done.exit_code != 0), done.stderr
    assert len(errors) <= 2, done.stderr  # a line for each image of the index
    assert len(done.stderr) < 3000
    assert all(letter.isprintable() or letter == "\n" for letter in done.stderr)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("examples", [15, pytest.param(MANY, marks=pytest.mark.system)])
def test_any_content_is_a_result_or_one_line(
    kind: str, examples: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    write, contents = KINDS[kind]

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,  # see watched
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(contents)
    def try_one(content: bytes) -> None:
        check(write(place, content))

    before = getrusage(RUSAGE_SELF).ru_maxrss
    try_one()
    grown = getrusage(RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < MOST_BYTES
