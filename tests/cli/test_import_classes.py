"""Right answers of imported networks: their classes and preprocessing, as the user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.weights.file import read_metadata
from inceptcli.weights.keys.timm_keys import INCEPTION_V4
from tests.cli.conftest import check_one_line, inceptcli
from tests.prediction.conftest import draw
from tests.weights.foreign_files import knowing, numbered

FOLDERS = sorted(str(number) for number in range(12))
"""0, 1, 10, 11, 2, ...: the order in which torchvision, and so their network, has them."""

VIEW = Preprocessing((96, 96), "squash", 1.0, "bicubic", (0.485, 0.456, 0.406), (0.2, 0.3, 0.4))
FLAGS = (
    "--image-size", "96", "--interpolation", "bicubic", "--mean", "0.485,0.456,0.406",
    "--std", "0.2,0.3,0.4",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Somebody's weights, and the pictures they are trained on: right on each of them."""
    folder = tmp_path_factory.mktemp("theirs")
    pictures = [draw(folder / "data" / name / "a.png", int(name)) for name in FOLDERS]
    torch.save({"state_dict": knowing(pictures, VIEW), "epoch": 9}, folder / "model_best.pth.tar")
    return folder / "model_best.pth.tar", folder / "data"


def top1(weights: Path, data: Path) -> float:
    done = inceptcli("eval", weights, "--data", data, "--format", "json", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    found: float = json.loads(done.stdout)["top1"]
    return found


@pytest.mark.system
def test_unnamed_classes_match_no_folder_and_count_in_a_list(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    source, data = trained
    output = tmp_path / "ours.safetensors"
    done = inceptcli("import", source, "--output", output, *FLAGS)
    assert done.exit_code == 0, done.stderr
    assert "the 12 classes are unnamed and cannot be matched by name" in done.stderr
    assert "from the preprocessing flags: images of 96x96, bicubic, mean 0.485/" in done.stderr
    check_one_line(
        inceptcli("eval", output, "--data", data),
        2,
        "its 12 classes are unnamed, so no folder",
    )
    rows = [f"{name}/a.png,{row}" for row, name in enumerate(FOLDERS)]
    (data / "rows.csv").write_text("\n".join(["path,class_index", *rows]))
    assert top1(output, data / "rows.csv") == 1
    answer = inceptcli("predict", data / "10/a.png", "--weights", output, "--format", "json")
    assert json.loads(answer.stdout)[0]["predictions"][0]["class"] == "class 2"
    two = ("--weights", output, "--weights", output)
    check_one_line(inceptcli("predict", data, *two), 2, "its classes are unnamed, so it")


@pytest.mark.system
@pytest.mark.parametrize("form", ["folder", "text", "list", "class_to_idx", "id2label"])
def test_classes_that_are_given_are_matched(
    form: str, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    source, data = trained
    file = tmp_path / ("classes.txt" if form == "text" else "classes.json")
    written: dict[str, Any] = {
        "list": FOLDERS,
        "class_to_idx": {name: row for row, name in reversed([*enumerate(FOLDERS)])},
        "id2label": {str(row): name for row, name in enumerate(FOLDERS)},
    }
    text = "\ufeff" + "\r\n".join(FOLDERS) if form == "text" else json.dumps(written.get(form))
    file.write_text(text, encoding="utf-8")
    output = tmp_path / "ours.safetensors"
    classes = data if form == "folder" else file
    done = inceptcli("import", source, "--output", output, "--classes", classes, *FLAGS)
    assert done.exit_code == 0, done.stderr
    assert f"from --classes {classes}: 12 classes" in done.stderr
    assert ("timm's loader sorts numbers by value" in done.stderr) == (form == "folder")
    assert not read_metadata(output).unnamed
    assert top1(output, data) == 1


@pytest.mark.parametrize("form", ["timm", "wrapper", "placeholders"])
def test_a_config_beside_the_file_is_read_and_said(form: str, tmp_path: Path) -> None:
    names = ["roses", "tulips", "daisies"]
    labels: dict[str, Any] = {
        "timm": {"label_names": names, "label_descriptions": {"roses": "a rose"}},
        "wrapper": {"id2label": {"2": "daisies", "0": "roses", "1": "tulips"}},
        "placeholders": {"label_names": ["LABEL_0", "LABEL_1", "LABEL_2"]},
    }
    fields = {
        "input_size": [3, 224, 256], "interpolation": "bilinear", "crop_pct": 1.0,
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    config = {"architecture": "inception_v4", "pretrained_cfg": fields, **labels[form]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {f"timm_model.{k}": v.contiguous() for k, v in numbered(INCEPTION_V4).items()}
    save_file(tensors, tmp_path / "model.safetensors")
    output = tmp_path / "ours.safetensors"
    done = inceptcli("import", tmp_path / "model.safetensors", "--output", output, "--mean", "0.5")
    assert done.exit_code == 0, done.stderr
    metadata = read_metadata(output)
    assert metadata.preprocessing == Preprocessing(
        (224, 256), "short-side", 1.0, "bilinear", (0.5, 0.5, 0.5), (0.229, 0.224, 0.225)
    )
    assert metadata.assumed == ["classes"] * (form == "placeholders") + ["resize"]
    assert metadata.unnamed == (form == "placeholders")
    if form != "placeholders":
        assert [entry.id for entry in metadata.classes] == names
        assert metadata.classes[0].name == ("a rose" if form == "timm" else "roses")
    taken = "" if form == "placeholders" else "3 classes, "
    assert f"from {tmp_path}/config.json: {taken}images of 224x256, crop" in done.stderr


def test_a_config_of_another_network_or_with_other_classes_is_not_taken(tmp_path: Path) -> None:
    torch.save(numbered(INCEPTION_V4), tmp_path / "a.pth")
    command = ("import", tmp_path / "a.pth", "--output", tmp_path / "ours.safetensors")
    config: dict[str, Any] = {"architecture": "resnet50", "label_names": ["a", "b", "c"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = inceptcli(*command)
    assert f"skipped {tmp_path}/config.json: it describes resnet50" in done.stderr
    assert read_metadata(tmp_path / "ours.safetensors").unnamed
    (tmp_path / "config.json").write_text(json.dumps({"label_names": ["a", "b"]}))
    check_one_line(inceptcli(*command), 1, "lists 2 classes, but the classifier has 3; ")
    for config, reason in (
        ({"pretrained_cfg": {"interpolation": "lanczos"}}, "; override it with --interpolation"),
        (
            {"pretrained_cfg": {"mean": [123.7, 116.3, 103.5]}},
            "divide by 255; override it with --mean",
        ),
        ({"pretrained_cfg": {"input_size": 224}}, "must be [channels, height, width], got 224"),
        ({"id2label": {"1": "a", "2": "b", "3": "c"}}, "must have the rows 0 to 2"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        check_one_line(inceptcli(*command), 1, reason)
    (tmp_path / "config.json").write_text("[]")
    done = inceptcli(*command)
    assert (done.exit_code, "config.json: skipped" in done.stderr) == (0, True)


def test_wrong_flags_are_one_line(tmp_path: Path) -> None:
    source = tmp_path / "source.pth"
    torch.save(numbered(INCEPTION_V4, 12), source)
    (tmp_path / "twice.txt").write_text("a\nb\na\n")
    (tmp_path / "forms.txt").write_text("\u00e9\nb\ne\u0301\n", "utf-8")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "two.txt").write_text("a\nb\n")
    for flags, code, reason in (
        (("--mean", "123.675,116.28,103.53"), 2, "divide values for pixels of 0 to 255 by 255"),
        (("--std", "0"), 2, "--std must be one number or three"),
        (("--crop-fraction", "1.5"), 2, "--crop-fraction must be above 0 and at most 1"),
        (("--image-size", "60"), 2, "at least 75x75"),
        (("--image-size", "9000"), 1, "cannot be imported with this metadata"),
        (("--classes", tmp_path / "none"), 2, "no such file or folder"),
        (("--classes", tmp_path / "twice.txt"), 2, "names the class a twice"),
        (("--classes", tmp_path / "forms.txt"), 2, "names the class \u00e9 twice"),
        (("--classes", tmp_path / "empty.txt"), 2, "lists no classes"),
        (("--classes", tmp_path / "two.txt"), 1, "lists 2 classes, but the classifier has 12"),
    ):
        done = inceptcli("import", source, "--output", tmp_path / "o.safetensors", *flags)
        check_one_line(done, code, reason)
    assert not (tmp_path / "o.safetensors").exists()


def test_labels_of_tf_slim_have_their_rows_before_them(tmp_path: Path) -> None:
    torch.save(numbered(INCEPTION_V4), tmp_path / "a.pth")
    labels = tmp_path / "labels.txt"
    command = ("import", tmp_path / "a.pth", "--output", tmp_path / "a.safetensors")
    labels.write_text("0:daisy\n2:tulip: red\n1:rose\n")
    done = inceptcli(*command, "--classes", labels)
    assert done.exit_code == 0, done.output
    found = read_metadata(tmp_path / "a.safetensors").classes
    assert [entry.id for entry in found] == ["daisy", "rose", "tulip: red"]
    labels.write_text("0:daisy\n1:rose\n1:tulip\n")
    check_one_line(
        inceptcli(*command, "--classes", labels), 1, "its 3 classes must have the rows 0 to 2"
    )
    labels.write_text("daisy\n1:rose\ntulip\n")
    assert inceptcli(*command, "--classes", labels).exit_code == 0
    assert read_metadata(tmp_path / "a.safetensors").classes[1].id == "1:rose"
