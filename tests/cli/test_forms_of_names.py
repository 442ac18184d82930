"""One class has one name, in whichever form of Unicode (NFC, NFD) a file has it."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import pytest
from typer.testing import CliRunner

from inceptcli.cli.app import app
from inceptcli.weights.file import load_network, save
from inceptcli.weights.metadata import ClassName
from tests.cli.conftest import check_one_line, inceptcli
from tests.prediction.conftest import draw, save_small_network

IDS = ("café", "naïve", "plain")
Form = Literal["NFC", "NFD"]
FORMS: list[Form] = ["NFC", "NFD"]


@pytest.fixture(scope="module", params=FORMS)
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of classes in one form or the other: a run of long ago, or of somebody else."""
    folder = tmp_path_factory.mktemp("run")
    names = [normalize(request.param, name) for name in IDS]
    return save_small_network(folder / "model.safetensors", names)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders and pictures in them by composed names."""
    root = tmp_path_factory.mktemp("data")
    for number in range(9):
        draw(root / IDS[number % 3] / f"ü{number}.png", number)
    return root


def measured(weights: Path, data: Path, *flags: object) -> dict[str, Any]:
    words = ("eval", weights, "--data", data, "--format", "json", "--device", "cpu", *flags)
    done = inceptcli(*words)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_csv_labels_in_either_form(form: Form, weights: Path, folders: Path) -> None:
    lines = [f"{path.relative_to(folders)},{path.parent.name}" for path in folders.rglob("*.png")]
    csv = folders / f"{form}.csv"
    csv.write_text(normalize(form, "\n".join(["path,label", *sorted(lines)])), "utf-8")
    assert measured(weights, csv)["per_class"] == measured(weights, folders)["per_class"]


def test_a_csv_that_names_an_image_in_both_forms_names_it_twice(
    weights: Path, folders: Path
) -> None:
    line = "café/ü0.png,café"
    csv = folders / "both.csv"
    csv.write_text("\n".join(["path,label", line, normalize("NFD", line)]), "utf-8")
    done = inceptcli("eval", weights, "--data", csv, "--device", "cpu")
    check_one_line(done, 1, "is already listed in line 2")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labels", ["cls", "json"])
def test_shards_list_classes_in_either_form(
    form: Form, labels: str, weights: Path, folders: Path, tmp_path: Path
) -> None:
    (tmp_path / "classes.txt").write_text(normalize(form, "\n".join(IDS)), "utf-8")
    pack(tmp_path / "val.tar", folders, labels, [normalize(form, name) for name in IDS])
    assert measured(weights, tmp_path)["per_class"] == measured(weights, folders)["per_class"]


@pytest.mark.parametrize("labels", ["cls", "json"])
def test_two_labels_whose_names_differ_in_form_only_are_one_class(
    labels: str, weights: Path, folders: Path, tmp_path: Path
) -> None:
    """As somebody lists a folder that has both: the numbers in .cls count both lines."""
    listed = [IDS[0], normalize("NFD", IDS[0]), *IDS[1:]]
    (tmp_path / "classes.txt").write_text("\n".join(listed), "utf-8")
    pack(tmp_path / "val.tar", folders, labels, listed)
    assert measured(weights, tmp_path)["per_class"] == measured(weights, folders)["per_class"]
    (tmp_path / "classes.txt").write_text("\n".join(listed[:2]), "utf-8")
    done = inceptcli("eval", weights, "--data", tmp_path, "--device", "cpu")
    check_one_line(done, 1, "must list at least two names that all differ")


def pack(shard: Path, folders: Path, labels: str, listed: list[str]) -> None:
    """The pictures in turn as each of the names that their class is listed by.

    In .json, names are in the form that the list has not.
    """
    with tarfile.open(shard, "w") as archive:
        for number, path in enumerate(sorted(folders.rglob("*.png"))):
            names = [name for name in listed if normalize("NFC", name) == path.parent.name]
            name = names[number % len(names)]
            other: Form = "NFD" if name == normalize("NFC", name) else "NFC"
            as_json = json.dumps({"label": normalize(other, name)})
            text = str(listed.index(name)) if labels == "cls" else as_json
            for suffix, content in (("png", path.read_bytes()), (labels, text.encode())):
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("form", FORMS)
def test_lists_of_paths_and_flags_name_in_either_form(
    form: Form, weights: Path, folders: Path, tmp_path: Path
) -> None:
    paths = [str(path) for path in sorted(folders.rglob("*.png"))]
    words = ["predict", "-", "--weights", str(weights), "--format", "jsonl", "--device", "cpu"]
    stdin = normalize(form, "\n".join(paths))
    done = CliRunner().invoke(app, words, input=stdin, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == paths
    left_out = tmp_path / "left_out.txt"
    left_out.write_text(normalize(form, "café/ü0.png\nnaïve/ü1.png\n"), "utf-8")
    assert measured(weights, folders, "--exclude", left_out)["excluded"] == 2
    explain = ("--explain", tmp_path / "maps", "--class", normalize(form, "café"))
    done = inceptcli("predict", paths[0], "--weights", weights, "--device", "cpu", *explain)
    assert done.exit_code == 0, done.stderr


def test_networks_whose_names_differ_in_form_only_answer_together(
    tmp_path: Path, folders: Path
) -> None:
    files = [tmp_path / f"{form}.safetensors" for form in FORMS]
    for file, form in zip(files, FORMS, strict=True):
        network, metadata = load_network(save_small_network(file, IDS))
        names = [normalize(form, name) for name in IDS]
        classes = tuple(ClassName(name, name) for name in names)
        save(file, network.state_dict(), replace(metadata, classes=classes))
    done = inceptcli("eval", *files, "--data", folders, "--format", "json", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 9
