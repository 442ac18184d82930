from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import check_one_line, inceptcli

WRONG = [
    (["--class", "ring"], 2, "--class needs --explain DIR"),
    (["--explain", "maps", "--class", "star"], 2, "--class star is not a class of the weights"),
    (["--explain", "maps", "--class", "6"], 2, "they are numbered 0 to 5"),
    (["--explain", "pictures"], 2, "--explain pictures: not empty"),
    (["--explain", "pictures/0.png"], 2, "--explain pictures/0.png: Not a directory"),
    (["--explain", "maps", "--crops", "10"], 2, "--explain needs one network and one crop"),
    (["--embeddings", "e.npy", "--crops", "12"], 2, "--embeddings needs one network and one"),
    (["--embeddings", "e.csv"], 2, "must end in .npy or .parquet"),
    (["--embeddings", "none/e.npy"], 2, "--embeddings none/e.npy: no such folder"),
    (["--embeddings", "e.npy", "--output", "e.npy.csv"], 2, "--output names the same file"),
    (["-0"], 2, "--null is for paths from standard input; add - to PATHS"),
    (["--top-k", "0"], 2, "Invalid value for '--top-k'"),
]


@pytest.mark.parametrize(("flags", "code", "said"), WRONG, ids=lambda value: str(value)[:60])
def test_wrong_use_is_one_line_and_writes_nothing(
    flags: list[str],
    code: int,
    said: str,
    folder: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder.parent)
    before = sorted(folder.parent.rglob("*"))
    check_one_line(inceptcli("predict", "pictures", "--weights", weights, *flags), code, said)
    assert sorted(folder.parent.rglob("*")) == before


@pytest.mark.parametrize("flags", [["--explain", "maps"], ["--embeddings", "e.npy"]])
def test_an_ensemble_has_neither_and_an_onnx_file_no_maps(
    flags: list[str],
    folder: Path,
    weights: Path,
    onnx_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder.parent)
    several = inceptcli("predict", "pictures", "--weights", weights, "--weights", weights, *flags)
    check_one_line(several, 2, f"{flags[0]} needs one network")
    onnx = inceptcli("predict", "pictures", "--weights", onnx_weights, *flags)
    if flags[0] == "--embeddings":
        assert onnx.exit_code == 0, onnx.stderr
    else:
        check_one_line(onnx, 2, f"--explain: {onnx_weights} is an ONNX file, which has no grad")


@pytest.mark.parametrize(
    ("flags", "package", "extra"),
    [
        (["--explain", "maps"], "captum", "explain"),
        (["--embeddings", "e.parquet"], "pyarrow", "parquet"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    flags: list[str],
    package: str,
    extra: str,
    folder: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder.parent)
    hidden = type("Hidden", (), {"find_spec": staticmethod(lambda name, *_: None)})
    monkeypatch.setattr(sys, "meta_path", [hidden])
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    done = inceptcli("predict", "pictures", "--weights", weights, *flags)
    check_one_line(done, 1, f"{package}; pip install 'inceptcli[{extra}]'")


def test_a_full_disk_is_named_by_its_flag_and_leaves_nothing_half_written(
    folder: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", full)
    maps = tmp_path / "maps"
    done = inceptcli("predict", folder, "--weights", weights, "--device", "cpu", "--explain", maps)
    assert done.exit_code == 1
    assert done.stderr == f"Error: --explain {maps}: No space left on device\n"
    assert list(maps.iterdir()) == []
