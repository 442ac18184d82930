"""Hostile label files through the real command line: an answer, or one line that says why not."""

from __future__ import annotations

import gzip
import json
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from inceptcli.__main__ import main
from tests.odd_files import png_of
from tests.prediction.conftest import draw, save_small_network

IDS = ("n00000001", "n00000002")

TEXTS = {
    "nothing": "",
    "blanks": " \t \n\n  ",
    "a header alone": "path,label",
    "two headers": "path,label\npath,label\n",
    "semicolons": "path;label\n0.png;n00000001\n",
    "tabs": "path\tlabel\n0.png\tn00000001\n",
    "an open quote": 'path,label\n"0.png,n00000001\n',
    "a quote amid": 'path,label\n0".png,n00000001\n',
    "old line ends": "path,label\r0.png,n00000001\r",
    "mixed line ends": "path,label\r\n0.png,n00000001\n1.png,n00000002\r\n",
    "a huge field": f"path,label\n{'x' * 200_000},n00000001\n",
    "many columns": f"path,label\n{',' * 50_000}\n",
    "many lines": "path,label\n" + "gone.png,n00000001\n" * 3000,
    "a huge number": f"path,label\n0.png,{'9' * 6000}\n",
    "a negative number": "path,label\n0.png,-1\n",
    "not a number": "path,label\n0.png,nan\n1.png,inf\n",
    "digits of others": "path,label\n0.png,\u0661\n",
    "above": "path,label\n../../../etc/passwd,n00000001\n",
    "the root": "path,label\n/dev/zero,n00000001\n",
    "a folder": "path,label\n.,n00000001\n",
    "a pipe": "path,label\n| cat /etc/passwd,n00000001\n",
    "an address": "path,label\nhttp://127.0.0.1/0.png,n00000001\n",
    "a formula": "path,label\n=1+1,n00000001\n0.png,=cmd\n",
    "colors": "path,label\n0.png,\x1b[31mred\x1b[0m\n",
    "a bell and more": "path,label\n\a\b\v\f.png,n00000001\n",
    "right to left": "path,label\n\u202egnp.0,n00000001\n",
    "lone surrogates": "path,label\n\udc80\udcff.png,n00000001\n",
    "a break in a name": 'path,label\n"0\n.png",n00000001\n',
    "braces": "path,label\n{0..9}.png,{n00000001}\n",
    "patterns": "path,label\n*.png,*\n",
    "the same twice": "path,label\n0.png,n00000001\n./0.png,n00000002\n",
    "emoji": "path,label\n\U0001f600.png,\U0001f600\n",
    "a long name": f"{'x' * 100_000}\nn00000001\n",
    "JSON": '[{"path": "0.png", "label": 0}]',
    "deep JSON": "[" * 100_000,
    "numbers of JSON": "[1, 2]",
    "names twice": '["a", "a"]',
    "no names": '["", null, true]',
    "HTML": "<!DOCTYPE html><html>404</html>",
    "a pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "home": "path,label\n~/0.png,~root\n",
    "good": "path,label\n0.png,n00000001\n1.png,n00000002\n",
}

BYTES = {
    "NUL": b"path,label\n0\0.png,n00000001\n",
    "UTF-16 without a mark": "path,label\n0.png,n00000001\n".encode("utf-16-le"),
    "half a UTF-16": b"\xff\xfep\0a\0t",
    "a mark alone": b"\xff\xfe",
    "Latin-1": "path,label\nk\xe4se.png,n00000001\n".encode("latin-1"),
    "gzip": gzip.compress(b"path,label\n0.png,n00000001\n", mtime=0),
    "a pickle": pickle.dumps({"path": "0.png"}),
    "a picture": png_of(9, 9),
    "noise": bytes(range(256)) * 40,
}

HOSTILE = {name: text.encode(errors="surrogateescape") for name, text in TEXTS.items()} | BYTES

Case = tuple[str, str]
"""Where a file lies and what it has."""


def as_list(folder: Path, content: bytes) -> list[object]:
    (folder / "list.csv").write_bytes(content)
    return ["eval", "WEIGHTS", "--data", folder / "list.csv"]


def as_flat_labels(folder: Path, content: bytes) -> list[object]:
    for number in (0, 1):
        (folder / f"{number}.png").rename(folder / f"ILSVRC2012_val_0000000{number + 1}.JPEG")
    (folder / "val.txt").write_bytes(content.replace(b",", b" "))
    return ["eval", "WEIGHTS", "--data", folder]


def as_synsets(folder: Path, content: bytes) -> list[object]:
    as_flat_labels(folder, b"ILSVRC2012_val_00000001.JPEG 0\nILSVRC2012_val_00000002.JPEG 1\n")
    (folder / "synsets.txt").write_bytes(content)
    return ["eval", "WEIGHTS", "--data", folder]


def as_kaggles(folder: Path, content: bytes) -> list[object]:
    as_flat_labels(folder, b"")
    (folder / "val.txt").unlink()
    content = content.replace(b"path,label", b"ImageId,PredictionString")
    (folder / "LOC_val_solution.csv").write_bytes(content)
    return ["eval", "WEIGHTS", "--data", folder / "LOC_val_solution.csv"]


def as_exclusions(folder: Path, content: bytes) -> list[object]:
    (folder / "out.txt").write_bytes(content)
    good = TEXTS["good"].encode()
    return [*as_list(folder, good), "--exclude", folder / "out.txt"]


def as_classes_of_shards(folder: Path, content: bytes) -> list[object]:
    with tarfile.open(folder / "train.tar", "w") as archive:
        for number in (0, 1):
            (folder / f"{number}.cls").write_text(str(number))
            for suffix in ("png", "cls"):
                archive.add(folder / f"{number}.{suffix}", f"{number}.{suffix}")
    for file in folder.glob("[01].*"):
        file.unlink()
    name = "classes.json" if content[:1] in b"[{" and content else "classes.txt"
    (folder / name).write_bytes(content)
    return ["data", "check", folder]


def as_classes_of_shards_measured(folder: Path, content: bytes) -> list[object]:
    return ["eval", "WEIGHTS", "--data", *as_classes_of_shards(folder, content)[-1:]]


def as_classes_to_import(folder: Path, content: bytes) -> list[object]:
    (folder / "model.pth").write_bytes(b"no weights")
    name = "classes.json" if content[:1] in b"[{" and content else "classes.txt"
    (folder / name).write_bytes(content)
    output = folder / "model.safetensors"
    return ["import", folder / "model.pth", "--output", output, "--classes", folder / name]


def as_data_to_check(folder: Path, content: bytes) -> list[object]:
    return ["data", "check", *as_list(folder, content)[-1:]]


PLACES: dict[str, Callable[[Path, bytes], list[object]]] = {
    "list.csv": as_list,
    "val.txt": as_flat_labels,
    "synsets.txt": as_synsets,
    "LOC_val_solution.csv": as_kaggles,
    "--exclude": as_exclusions,
    "classes of shards": as_classes_of_shards,
    "classes of shards, measured": as_classes_of_shards_measured,
    "import --classes": as_classes_to_import,
    "data check of a list": as_data_to_check,
}

CASES = [*product(PLACES, HOSTILE)]
FEW = CASES[::17]
SUBPROCESSES = [
    ("list.csv", "NUL"), ("list.csv", "deep JSON"), ("val.txt", "colors"),
    ("LOC_val_solution.csv", "good"), ("--exclude", "lone surrogates"),
    ("classes of shards", "names twice"), ("data check of a list", "good"), ("list.csv", "good"),
]  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors", IDS)


def command(case: Case, folder: Path, weights: Path) -> list[str]:
    """What the user types; the file and two pictures are made."""
    for number in (0, 1):
        draw(folder / f"{number}.png", number)
    place, content = case
    words = PLACES[place](folder, HOSTILE[content])
    words += ["--format", "json"] if words[0] != "import" else []
    words += ["--device", "cpu"] if words[0] == "eval" else []
    return [str(weights) if word == "WEIGHTS" else str(word) for word in words]


def check(code: int, output: str, errors: str) -> None:
    """An answer, with failures that are named, or one line."""
    assert code in (0, 1, 2), errors
    assert "Traceback" not in output + errors
    said = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert not [letter for letter in errors if letter != "\n" and not letter.isprintable()]
    assert not [line[:300] for line in errors.splitlines() if len(line) > 1600]
    if output:
        assert isinstance(json.loads(output), dict)
        assert len(said) <= 1
    else:
        assert (code != 0, len(said)) == (True, 1), errors


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[str]], tuple[int, str, str]]:
    """The program's own entry point in this process."""
    monkeypatch.setattr("inceptcli.__main__.secure_standard_streams", lambda: None)

    def run_main(words: list[str]) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["inceptcli", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run_main


def test_there_are_over_two_hundred_files() -> None:
    assert len(CASES) >= 200
    assert set(SUBPROCESSES) <= set(CASES)


@pytest.mark.parametrize(
    "cases", [pytest.param(CASES, marks=pytest.mark.system, id="all"), pytest.param(FEW, id="few")]
)
def test_a_hostile_label_file_is_answered_or_one_line(
    cases: list[Case],
    weights: Path,
    run: Callable[[list[str]], tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    codes = []
    for number, case in enumerate(cases):
        words = command(case, tmp_path / str(number), weights)
        code, output, errors = run(words)
        try:
            check(code, output, errors)
        except (AssertionError, ValueError) as error:
            raise AssertionError(f"{case}: {code} {output[:500]!r} {errors[:500]!r}") from error
        codes.append(code)
    assert {0, 1} <= set(codes) or cases == FEW


@pytest.mark.system
@pytest.mark.parametrize("case", SUBPROCESSES, ids=" ".join)
def test_so_it_is_in_a_process_of_its_own(case: Case, weights: Path, tmp_path: Path) -> None:
    words = command(case, tmp_path, weights)
    done = subprocess.run(
        [sys.executable, "-m", "inceptcli", *words], capture_output=True, text=True, check=False,
        encoding="utf-8",
    )  # fmt: skip
    check(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("place", ["list.csv", "LOC_val_solution.csv"])
def test_a_good_file_is_measured(
    place: str, weights: Path, run: Callable[[list[str]], tuple[int, str, str]], tmp_path: Path
) -> None:
    content = b"path,label\n0.png,n00000001\n1.png,n00000002\n"
    folder = tmp_path / "data"
    words = command((place, "good"), folder, weights)
    if place != "list.csv":
        rows = b"ILSVRC2012_val_00000001,n00000001 1 2 3 4\nILSVRC2012_val_00000002,n00000002 1 2\n"
        (folder / place).write_bytes(b"ImageId,PredictionString\n" + rows)
    else:
        (folder / place).write_bytes(content)
    code, output, errors = run(words)
    assert (code, json.loads(output)["images"]) == (0, 2), errors


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "path,labels\n0.png,n0,n1\n1.png,n1\n",
            "line 2: has 3 fields, the header 2; separate labels by ; or quote the field",
        ),
        ("path,label\n0.png,n0\n1.png,n1,n0\n", "line 3: has 3 fields, the header 2; separate"),
        ("path,cat,dog\n0.png,1,0,1\n", "line 2: has 4 fields, the header 3; quote a field that"),
        ("path,label\n0.png,cat;dog\n1.png,cat\n", "line 2: label cat;dog has a ;"),
        ("path,cat,dog,label\n0.png,1,0,1\n1.png,0,1,1\n", "column label has only 0 and 1, as"),
        ("path,label\n0.png,\udce9\n1.png,n1\n", "line 2: label \\udce9 is not valid UTF-8; save"),
    ],
)
def test_labels_that_would_be_lost_are_one_line(
    text: str, said: str, run: Callable[[list[str]], tuple[int, str, str]], tmp_path: Path
) -> None:
    words = command(("data check of a list", "good"), tmp_path, tmp_path)
    (tmp_path / "list.csv").write_bytes(text.encode(errors="surrogateescape"))
    checked = run(words)
    output = ("--output", str(tmp_path / "run"), "--val-fraction", "0.5")
    trained = run(["train", "--data", str(tmp_path / "list.csv"), *output])
    for code, written, errors in (checked, trained):
        check(code, written, errors)
        assert (code, written) == (1, ""), errors
        assert f"list.csv {said}" in errors or f"list.csv: {said}" in errors
