"""The guide's recipes for the shell, run as they stand there."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import build, network_options
from inceptcli.weights.file import save
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.cli.conftest import installed, picture

ROOT = Path(__file__).parents[2]
NEEDED = ("bash", "find", "xargs", "awk", "jq", "parallel")
CATS = [f"photos/cats/{name}.png" for name in ("a", "b\nc", "d e", "-f", "'g\"")]

# What sbatch does, one task after the other, here.
SBATCH = """\
#!/usr/bin/env bash
[ "$1" = --wait ]
range=${2#--array=}; shift 2
export SLURM_ARRAY_TASK_MIN=${range%-*} SLURM_ARRAY_TASK_MAX=${range#*-}
export SLURM_ARRAY_TASK_COUNT=$((SLURM_ARRAY_TASK_MAX - SLURM_ARRAY_TASK_MIN + 1))
for task in $(seq "${range%-*}" "${range#*-}"); do
  SLURM_ARRAY_TASK_ID=$task bash "$@" || echo "$task: $?" >> failed
done
"""

pytestmark = [
    pytest.mark.system,
    *(
        pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
        for name in NEEDED
    ),
]


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all of them ran: pictures with names of all kinds, one file of text."""
    folder = tmp_path_factory.mktemp("shell")
    for number, name in enumerate([*CATS, "photos/=1+1.png"]):
        picture(folder / name, number)
    (folder / "photos/text.png").write_text("no image")
    options = network_options("irv1", num_classes=2, repeats=(1, 1, 1))
    classes = ClassName("cat", "cat"), ClassName("dog", "dog")
    metadata = WeightsMetadata(options, classes, Preprocessing((75, 75)))
    save(folder / "pets.safetensors", build(options).state_dict(), metadata)
    (folder / "recipes").symlink_to(ROOT / "recipes")
    programs = installed(folder / "programs")
    (programs / "sbatch").write_text(SBATCH)
    (programs / "sbatch").chmod(0o755)
    page = (ROOT / "inceptcli/guide/predict.md").read_text()
    found = re.search(r"<!-- shell -->\n```sh\n(.*?)```", page, re.S)
    assert found
    path = f"{programs}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", found[1]],
        cwd=folder,
        check=True,
        env={**os.environ, **environment},
    )
    return folder


def answers(*files: Path) -> dict[str, str | None]:
    """Each path of some JSON lines with its error."""
    lines = [line for file in files for line in file.read_text().splitlines()]
    rows = [json.loads(line) for line in lines]
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: row["error"] for row in rows}


def test_find_names_every_file_whatever_it_is_called(done: Path) -> None:
    found = answers(done / "answers.jsonl")
    assert set(found) == {*CATS, "photos/=1+1.png", "photos/text.png"}
    assert [path for path, error in found.items() if error] == ["photos/text.png"]


def test_jq_takes_the_best_class_and_what_failed(done: Path) -> None:
    rows = [line.split("\t") for line in (done / "sure.tsv").read_text().splitlines()]
    assert len(rows) == 6
    assert all(row[1] in ("cat", "dog") for row in rows)
    assert (done / "unreadable.txt").read_text().startswith("photos/text.png: not an image")


@pytest.mark.parametrize("name", ["cats.jsonl", "parallel.jsonl"])
def test_xargs_and_parallel_give_what_one_process_gives(done: Path, name: str) -> None:
    rows = [json.loads(line) for line in (done / name).read_text().splitlines()]
    alone = [json.loads(line) for line in (done / "answers.jsonl").read_text().splitlines()]
    assert rows == [row for row in alone if row["path"].startswith("photos/cats/")]
    assert len(rows) == len(CATS)


def test_shards_merge_to_the_folder_in_its_order(done: Path) -> None:
    rows = [json.loads(line) for line in (done / "shards.jsonl").read_text().splitlines()]
    alone = [json.loads(line) for line in (done / "cats.jsonl").read_text().splitlines()]
    assert rows == sorted(alone, key=lambda row: Path(row["path"]))
    assert len(rows) == len(CATS)


def part(done: Path, task: int) -> Path:
    (rows,) = (done / f"answers/part-0000{task}-of-00002").glob("rows-*.jsonl")
    return rows


def test_the_tasks_of_an_array_share_the_list(done: Path) -> None:
    shares = [answers(part(done, task)) for task in (0, 1)]
    assert abs(len(shares[0]) - len(shares[1])) <= 1
    both = shares[0] | shares[1]
    assert len(both) == len(shares[0]) + len(shares[1])
    # A line is a path here, so a name with a line break becomes two that are no files.
    failing = {"photos/text.png", "photos/cats/b", "c.png"}
    assert set(both) == {*CATS, "photos/=1+1.png", *failing} - {"photos/cats/b\nc.png"}
    assert {path for path, error in both.items() if error} == failing
    failed = [f"{task}: 1" for task in (0, 1) if failing & set(shares[task])]
    assert (done / "failed").read_text().splitlines() == failed
    with (done / "array.csv").open(newline="") as file:
        merged = [row["path"] for row in csv.DictReader(file) if row["rank"] in ("", "1")]
    listed = (done / "files.txt").read_text().splitlines()
    assert merged == [f"'{path}" if path[0] == "-" else path for path in listed]
