"""A user who may not write into a folder, or read a file, gets one line and loses nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, picture

OVERRIDING = "-dac_override,-dac_read_search"
"""What root loses to be treated as any other user."""

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        os.getuid() == 0 and shutil.which("setpriv") is None,
        reason="root may write everywhere without setpriv",
    ),
]


@pytest.fixture
def place(tmp_path: Path, weights: Path) -> Iterator[Path]:
    """What commands read, and a folder into which nothing may be written."""
    (tmp_path / "run").mkdir()
    shutil.copy(weights, tmp_path / "run" / "model.safetensors")
    picture(tmp_path / "photo.png", 0)
    (tmp_path / "l.csv").write_text("path,label\nphoto.png,0\n")
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "old.csv").write_text("old")
    (tmp_path / "closed").chmod(0o555)
    yield tmp_path
    (tmp_path / "closed").chmod(0o755)


def without_rights(place: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and the lines of standard error, in `place`."""
    user = ["setpriv", f"--bounding-set={OVERRIDING}"] if os.getuid() == 0 else []
    done = subprocess.run(
        [*user, sys.executable, "-m", "inceptcli", *arguments],
        cwd=place, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    "command",
    [
        "predict --weights run photo.png --format csv --output closed/new.csv",
        "predict --weights run photo.png --format csv --output closed/old.csv",
        "predict --weights run photo.png --gallery closed/g.html",
        "predict --weights run photo.png --embeddings closed/e.npy",
        "predict --weights run photo.png --explain closed/maps",
        "predict --weights run photo.png --shard 0/1 --output closed/parts",
        "eval run --data l.csv --predictions closed/new.csv",
        "eval run --data l.csv --report closed/r.html",
        "export run --to timm --output closed/e.safetensors",
        "import run/model.safetensors --output closed/i.safetensors",
        "summarize irv1 --figure closed/f.svg",
        "train --output closed/run " + " ".join(TINY).replace("[1, 1, 1]", "[1,1,1]"),
        "train --output closed " + " ".join(TINY).replace("[1, 1, 1]", "[1,1,1]"),
    ],
)
def test_a_folder_that_may_not_be_written_is_one_line(place: Path, command: str) -> None:
    code, lines = without_rights(place, *command.split())
    errors = [line for line in lines if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "closed" in errors[0]
    assert code == 2
    assert [path.name for path in (place / "closed").iterdir()] == ["old.csv"]
    assert (place / "closed" / "old.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "predict --weights run photo.png --format csv --output photo.png",
            "is also the input photo.png",
        ),
        (
            "predict --weights run l.csv photo.png --format csv --output link.png",
            "is also the input",
        ),
        ("eval run --data l.csv --predictions l.csv", "is also the input l.csv"),
        ("predict --weights run photo.png --format csv --output out.csv", "not a regular file"),
        ("train --output linked " + " ".join(TINY).replace("[1, 1, 1]", "[1,1,1]"), "is a link"),
    ],
)
def test_inputs_and_links_are_no_outputs(place: Path, command: str, said: str) -> None:
    (place / "out.csv").symlink_to("/dev/stdout")
    os.link(place / "photo.png", place / "link.png")
    (place / "linked").mkdir()
    (place / "linked" / "train.log").symlink_to(place / "l.csv")
    before = {path: path.read_bytes() for path in (place / "photo.png", place / "l.csv")}
    code, lines = without_rights(place, *command.split())
    errors = [line for line in lines if line.startswith("Error: ")]
    assert (code, len(errors)) == (2, 1)
    assert said in errors[0]
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("closed", "command", "code"),
    [
        ("photo.png", "predict --weights run photo.png --format csv", 1),
        ("run/model.safetensors", "predict --weights run photo.png", 1),
        ("run/model.safetensors", "export run --to timm --output e.safetensors", 1),
        ("l.csv", "eval run --data l.csv", 1),
    ],
)
def test_a_file_that_may_not_be_read_is_named(
    place: Path, closed: str, command: str, code: int
) -> None:
    (place / closed).chmod(0)
    found, lines = without_rights(place, *command.split())
    assert found == code
    (line,) = (line for line in lines if closed in line)
    assert "ermission denied" in line


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("predict --weights run hidden/a.png --format csv", 1),
        ("predict --weights run hidden/s.tar", 1),
        ("predict --weights hidden/w photo.png", 1),
        ("eval run --data hidden/l.csv", 1),
        ("eval run --data l.csv --exclude hidden/x", 2),
        ("merge hidden/parts", 1),
        ("compare hidden/run", 1),
        ("summarize hidden/w", 1),
        ("export hidden/w --to timm --output e.safetensors", 1),
        ("import hidden/a.pth --output e.safetensors", 1),
        ("train --data hidden/d --output new", 1),
        ("train --recipe hidden/r.yaml --output new", 1),
        ("predict --weights run photo.png --format csv --output hidden/new.csv", 2),
        ("import run/model.safetensors --output hidden/e.safetensors", 2),
        ("compare --paper --output hidden/c.png", 2),
        ("study shortcut --output hidden/study", 2),
        ("train --output hidden/run " + " ".join(TINY).replace("[1, 1, 1]", "[1,1,1]"), 2),
    ],
)
def test_a_folder_that_may_not_be_entered_is_one_line(place: Path, command: str, code: int) -> None:
    (place / "hidden").mkdir(mode=0)
    found, lines = without_rights(place, *command.split())
    (place / "hidden").chmod(0o755)
    errors = [line for line in lines if line.startswith("Error: ")]
    assert (found, len(errors)) == (code, 1), lines
    assert "hidden" in errors[0]
    assert not list((place / "hidden").iterdir())
