"""What a command writes is a regular file and none of those that it reads, by whatever name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from inceptcli.cli import outputs
from tests.cli.conftest import check_one_line, inceptcli, picture


@pytest.fixture
def place(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one of each thing that commands read; the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    shutil.copy(weights, "run/model.safetensors")
    os.link("run/model.safetensors", "w.svg")
    for number in range(2):
        picture(tmp_path / f"photos/{number}.png", number)
    picture(tmp_path / "flat/ILSVRC2012_val_00000001.jpg", 1)
    Path("l.csv").write_text("path,label\nphotos/0.png,0\n")
    Path("flat/labels.csv").write_text("file,label\nILSVRC2012_val_00000001.jpg,n0\n")
    Path("one.jpg").symlink_to("photos/0.png")
    os.link("photos/0.png", "two.jpg")
    for name in (
        "image.html",
        "image.csv",
    ):  # a suffix that another check would refuse hides this one
        os.link("photos/0.png", name)
    os.link("run/model.safetensors", "w.html")
    os.link("l.csv", "l.html")
    Path("leave-out.csv").write_text("photos/1.png\n")
    (tmp_path / "out").mkdir()
    return tmp_path


PREDICT = "predict --weights run --device cpu --quiet"
OVER_INPUTS = {
    "image": (f"{PREDICT} photos/0.png --format csv --output photos/0.png", "photos/0.png"),
    "image in a folder": (f"{PREDICT} photos --format csv --output photos/1.png", "photos/1.png"),
    "image by a link": (f"{PREDICT} photos --format csv --output one.jpg", "photos/0.png"),
    "image by a hard link": (f"{PREDICT} photos --format csv --output two.jpg", "photos/0.png"),
    "gallery": (f"{PREDICT} photos/0.png --gallery image.html", "photos/0.png"),
    "weights": (
        f"{PREDICT} photos --format csv --output run/model.safetensors", "run/model.safetensors"
    ),
    "gallery over weights": (
        f"{PREDICT} photos --gallery w.html", "run/model.safetensors"
    ),
    "labels": ("eval run --data l.csv --predictions l.csv", "l.csv"),
    "report": ("eval run --data l.csv --report l.html", "l.csv"),
    "labels of a flat folder": (
        "eval run --data flat --confusion flat/labels.csv", "flat/labels.csv"
    ),
    "measured image": ("eval run --data l.csv --predictions image.csv", "photos/0.png"),
    "measured weights": (
        "eval run --data l.csv --report w.html", "run/model.safetensors"
    ),
    "list of exclusions": (
        "eval run --data l.csv --exclude leave-out.csv --predictions leave-out.csv",
        "leave-out.csv",
    ),
    "exported weights": ("export run --to timm --output run/model.safetensors", "run/model.saf"),
    "imported weights": (
        "import run/model.safetensors --output run/model.safetensors", "run/model.safetensors"
    ),
    "figure": ("summarize w.svg --figure w.svg", "w.svg"),
}  # fmt: skip


@pytest.mark.parametrize("case", OVER_INPUTS)
def test_an_output_over_an_input_is_refused_and_the_input_stays(case: str, place: Path) -> None:
    line, said = OVER_INPUTS[case]
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    check_one_line(inceptcli(*line.split()), 2, f"is also the input {said}")
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def strange_inputs(place: Path) -> None:
    """Files that commands read without being told their names, or by links."""
    name = "ILSVRC2012_val_00000001.JPEG"
    for folder in ("inside/val", "kaggle/ILSVRC/Data/CLS-LOC/val"):
        (place / folder).mkdir(parents=True)
        shutil.copy("photos/0.png", place / folder / name)
    Path("inside/val/labels.csv").write_text(f"file,label\n{name},n0\n")
    boxes = f"ImageId,PredictionString\n{Path(name).stem},n0 1 2 3 4\n"
    Path("kaggle/LOC_val_solution.csv").write_text(boxes)
    for folder in ("linked", "shards", "classes/a", "classes/b"):
        Path(folder).mkdir(parents=True)
    Path("linked/model.safetensors").symlink_to("../w.svg")
    Path("m.png").write_text("epoch,step,seconds,val_top1\n1,1,1,0.5\n")
    Path("linked/metrics.csv").symlink_to("../m.png")
    save_file({"a": torch.zeros(1)}, "part.safetensors")
    index = {"weight_map": {"a": "part.safetensors"}}
    Path("m.safetensors.index.json").write_text(json.dumps(index))
    Path("names.safetensors").write_text("a\n")
    (place / "run/checkpoints").mkdir()
    torch.save({}, "run/checkpoints/step-1.ckpt")
    with tarfile.open("s.tar", "w") as archive:
        archive.add("photos/0.png", "a.png")
    Path("s.tar.json").write_text("{}")
    Path("classes/a/0.png").symlink_to("../../shards/images-000000.tar")
    shutil.copy("photos/0.png", "shards/images-000000.tar")
    shutil.copy("photos/1.png", "classes/b/1.png")


UNNAMED_INPUTS = {
    "labels in the folder of a folder": (
        "eval run --data inside --predictions inside/val/labels.csv", "inside/val/labels.csv"
    ),
    "labels above the folder": (
        "eval run --data kaggle/ILSVRC/Data/CLS-LOC/val --confusion kaggle/LOC_val_solution.csv",
        "kaggle/LOC_val_solution.csv",
    ),
    "weights of a run": ("summarize linked --figure w.svg", "linked/model.safetensors"),
    "metrics of a run": ("compare linked --output m.png", "linked/metrics.csv"),
    "shard of weights": (
        "import m.safetensors.index.json --output part.safetensors", "part.safetensors"
    ),
    "names of classes": (
        "import part.safetensors --classes names.safetensors --output names.safetensors",
        "names.safetensors",
    ),
    "run of a checkpoint": (
        "import run/checkpoints/step-1.ckpt --output run/model.safetensors", "model.safetensors"
    ),
    "index of a shard": (f"{PREDICT} s.tar --format json --output s.tar.json", "s.tar.json"),
    "image by a link": ("data shard classes --output shards --workers 1", "classes/a/0.png"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNNAMED_INPUTS)
def test_an_output_over_an_input_that_nobody_named_is_refused(case: str, place: Path) -> None:
    strange_inputs(place)
    line, said = UNNAMED_INPUTS[case]
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    done = inceptcli(*line.split())
    check_one_line(done, 2, "is also the input ")
    assert said in done.stderr
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_a_file_that_standard_input_is_may_not_be_the_output(place: Path) -> None:
    Path("list.txt").write_text("photos/0.png\n")
    with Path("list.txt").open("rb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "inceptcli", *PREDICT.split(), "-", "--output", "list.txt"],
            stdin=stream, capture_output=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        b"Error: --output list.txt: is also the input standard input; give another file\n"
    )
    assert Path("list.txt").read_text() == "photos/0.png\n"


PART = "out/part-00000-of-00001"


@pytest.mark.parametrize("name", ["_part.json", ".lock"])
def test_what_lies_in_a_part_is_a_regular_file(name: str, place: Path) -> None:
    Path(PART).mkdir()
    os.mkfifo(f"{PART}/{name}")
    command = [*PREDICT.split(), "photos", "--shard", "0/1", "--output", "out"]
    check_one_line(inceptcli(*command), 2, f"{PART}/{name}: not a regular file")


WRITTEN = {
    "predict photos --weights run --output out/a.csv --gallery out/a.html --embeddings out/a.npy": (
        "out/a.csv, 3 images|out/a.html|out/a.npy, 2 images|out/a.npy.csv, 2 images"
    ),
    "predict photos --weights run --shard 0/1 --output out": ("out/part-00000-of-00001, 3 rows"),
    "eval run --data l.csv --predictions out/p.csv --confusion out/c.csv --report out/r.html": (
        "out/p.csv, 1 image|out/c.csv, 1 pair|out/r.html, 1 image"
    ),
    "export run --to onnx --output out/t.onnx": "out/t.onnx",
    "summarize run --figure out/f.svg": "out/f.svg",
    "compare --paper --output out/c.png": "out/c.png|out/c.csv, 2,242 points",
}


@pytest.mark.parametrize("command", WRITTEN)
def test_files_that_were_written_are_named(command: str, place: Path) -> None:
    (place / "photos/broken.jpg").write_text("none")
    done = inceptcli(*command.split(), *["--device", "cpu"] * command.startswith(("eval", "pred")))
    assert done.exit_code == int(command.startswith("predict")), done.output
    said = [line for line in done.stderr.splitlines() if line.startswith("wrote ")]
    assert said == [f"wrote {file}" for file in WRITTEN[command].split("|")]
    assert all(Path(line.split()[1].rstrip(",")).exists() for line in said)
    if command.startswith(("summarize", "compare")):
        return
    shutil.rmtree("out")
    Path("out").mkdir()
    assert "wrote" not in inceptcli(*command.split(), "--quiet").stderr
    assert list(Path("out").iterdir())


def test_merge_names_what_it_wrote(place: Path) -> None:
    assert (
        inceptcli(*PREDICT.split(), "photos", "--shard", "0/1", "--output", "parts/").exit_code == 0
    )
    for quiet in (False, True):
        done = inceptcli("merge", "parts", "--output", "out/a.csv", *["--quiet"] * quiet)
        said = "wrote out/a.csv, 2 rows, 0 with an error\n"
        assert done.stderr == ("" if quiet else said)


def test_a_list_on_standard_input_may_not_name_the_output(place: Path) -> None:
    before = Path("photos/1.png").read_bytes()
    flags = [*PREDICT.split(), "-", "--format", "csv", "--output", "photos/1.png"]
    done = subprocess.run(
        [sys.executable, "-m", "inceptcli", *flags],
        input=b"photos/0.png\nphotos/1.png\n", capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        b"Error: --output photos/1.png: is also the input photos/1.png; give another file\n"
    )
    assert Path("photos/1.png").read_bytes() == before


def test_a_task_that_has_finished_looks_up_no_image(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, looked_up = outputs._key, list[str]()

    def recorded(path: Path | str | int) -> tuple[int, int] | None:
        looked_up.append(str(path))
        return key(path)

    command = [*PREDICT.split(), "photos", "--shard", "1/2", "--output", "parts/"]
    assert inceptcli(*command).exit_code == 0
    monkeypatch.setattr(outputs, "_key", recorded)
    assert inceptcli(*command).exit_code == 0
    assert "photos" in looked_up
    assert not any(path.startswith("photos/") for path in looked_up)


def test_merge_does_not_write_over_a_part_or_its_record(place: Path) -> None:
    for number in range(2):
        part = ["--shard", f"{number}/2", "--output", "parts/"]
        assert inceptcli(*PREDICT.split(), "photos", *part).exit_code == 0
    before = {path: path.read_bytes() for path in Path("parts").glob("*/*")}
    (rows,) = Path("parts/part-00000-of-00002").glob("*.jsonl")
    for name in (rows.relative_to("parts"), "part-00001-of-00002/_part.json"):
        command = ["merge", "parts", "--format", "jsonl", "--output", f"parts/{name}"]
        check_one_line(inceptcli(*command), 2, f"is also the input parts/{name}")
    assert {path: path.read_bytes() for path in Path("parts").glob("*/*")} == before


def test_two_outputs_are_two_files(place: Path) -> None:
    command = f"{PREDICT} photos --format csv --output out/a.html --gallery out/../out/a.html"
    check_one_line(inceptcli(*command.split()), 2, "--output names the same file")
    assert not list(Path("out").iterdir())


def test_a_recipe_is_not_replaced_by_the_complete_one_of_its_run(place: Path) -> None:
    Path("out/recipe.yaml").write_text("network: irv1  # mine\n")
    done = inceptcli("train", "--recipe", "out/recipe.yaml", "--output", "out")
    check_one_line(done, 2, "--output out/recipe.yaml: is also the input out/recipe.yaml")
    assert Path("out/recipe.yaml").read_text() == "network: irv1  # mine\n"


def link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("p"))
    path.symlink_to("p")


def link_to_a_link(path: Path) -> None:
    path.with_name("l").symlink_to("/proc/self/fd/1")
    path.symlink_to("l")


ODD_OUTPUTS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "link to a pipe": link_to_a_pipe,
    "link into /proc": lambda path: path.symlink_to("/proc/self/fd/1"),
    "link to a link into /proc": link_to_a_link,
    "link to the null device": lambda path: path.symlink_to("/dev/null"),
}

WRITING = {
    "predict": (f"{PREDICT} photos --format csv --output out/x", "--output"),
    "gallery": (f"{PREDICT} photos --gallery out/x", "--gallery"),
    "embeddings": (f"{PREDICT} photos --embeddings out/x.npy", "--embeddings"),
    "eval": ("eval run --data l.csv --predictions out/x", "--predictions"),
    "report": ("eval run --data l.csv --report out/x", "--report"),
    "export": ("export run --to timm --output out/x", "--output"),
    "import": ("import photos/0.png --output out/x", "--output"),
    "summarize": ("summarize irv1 --figure out/x.svg", "--figure"),
    "compare": ("compare --paper --output out/x.png", "--output"),
}


@pytest.mark.parametrize("kind", ODD_OUTPUTS)
@pytest.mark.parametrize("command", WRITING)
def test_what_is_no_regular_file_is_no_output(command: str, kind: str, place: Path) -> None:
    line, flag = WRITING[command]
    path = Path(line.split()[-1])
    ODD_OUTPUTS[kind](path)
    inode = path.lstat().st_ino
    check_one_line(inceptcli(*line.split()), 2, f"Error: {flag} {path}: ")
    assert path.lstat().st_ino == inode


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{PREDICT} photos --output -", "results go to standard output without --output"),
        ("eval run --data l.csv --predictions -", "--predictions -: not a regular file"),
    ],
)
def test_no_file_is_called_as_standard_output_is(line: str, said: str, place: Path) -> None:
    check_one_line(inceptcli(*line.split()), 2, said)
    assert not Path("-").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may replace /dev/stdout")
def test_standard_output_is_not_replaced(place: Path) -> None:
    before = Path("/dev/stdout").lstat().st_ino
    command = [sys.executable, "-m", "inceptcli", *PREDICT.split(), "photos"]
    with open(place / "answers", "wb") as stream:  # noqa: PTH123 (as the shell does)
        done = subprocess.run(
            [*command, "--output", "/dev/stdout"],
            stdout=stream, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "results go to standard output without --output" in done.stderr
    assert Path("/dev/stdout").lstat().st_ino == before


def test_an_output_by_a_link_to_another_file_leaves_that_as_it_is(place: Path) -> None:
    Path("out/theirs.csv").write_text("theirs")
    Path("out/link.csv").symlink_to("theirs.csv")
    assert inceptcli(*PREDICT.split(), "photos", "--output", "out/link.csv").exit_code == 0
    assert Path("out/theirs.csv").read_text() == "theirs"
    assert Path("out/link.csv").read_text().startswith("path,rank")


def test_a_lock_of_a_part_that_is_a_link_is_refused(place: Path) -> None:
    Path(PART).mkdir()
    Path("theirs.txt").write_text("theirs\n")
    Path(f"{PART}/.lock").symlink_to("../../theirs.txt")
    command = [*PREDICT.split(), "photos", "--shard", "0/1", "--output", "out"]
    check_one_line(inceptcli(*command), 2, f"--output {PART}: cannot be written: ")
    assert Path("theirs.txt").read_text() == "theirs\n"


def test_a_file_where_a_part_would_lie_is_not_replaced(place: Path) -> None:
    Path(PART).write_text("mine")
    command = [*PREDICT.split(), "photos", "--shard", "0/1", "--output", "out"]
    check_one_line(inceptcli(*command), 2, f"--output {PART}: cannot be written: File exists")
    assert Path(PART).read_text() == "mine"


def test_an_output_that_is_no_input_is_written(place: Path) -> None:
    Path("out/x.csv").write_text("old")
    command = f"{PREDICT} photos --output out/x.csv --gallery out/x.html"
    assert inceptcli(*command.split()).exit_code == 0
    assert Path("out/x.csv").read_text().startswith("path,rank")
    Image.open(place / "photos/0.png").close()


def test_a_current_folder_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = inceptcli("summarize", "irv1", "--figure", "x.svg")
    check_one_line(done, 2, "the current folder no longer exists; change to another one")
