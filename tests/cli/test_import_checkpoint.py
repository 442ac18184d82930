"""A training checkpoint of ours becomes a weights file, described by its run directory."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.weights.calibration import Calibration
from inceptcli.weights.file import copy_with_metadata, load_tensors, read_metadata, save
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.cli.conftest import check_one_line, inceptcli, picture
from tests.tiny_network import TINY_FLAGS, tiny_options
from tests.training.test_resume import stop_at

CLASSES = ("ant", "bee", "wasp")
UNUSUAL = (
    *TINY_FLAGS, "--image-size", "76x80",
    "--set", "network.shortcut=false", "--set", "network.dropout=0.4",
    "--set", "data.resize=squash", "--set", "data.mean=[0.4, 0.5, 0.6]", "--set", "data.std=0.3",
    "--set", "data.antialias=false",
)  # fmt: skip
NETWORK = tiny_options(num_classes=3, shortcut=False, dropout=0.4)
VIEW = Preprocessing((76, 80), "squash", mean=(0.4, 0.5, 0.6), std=(0.3, 0.3, 0.3), antialias=False)


def train(place: Path, *flags: object) -> Any:
    """Two epochs of four steps on folders, with an unusual network."""
    return inceptcli(
        "train", "--data", place / "data", "--output", place / "run", "--epochs", "2",
        "--batch-size", "4", "--accelerator", "cpu", *UNUSUAL, *flags,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, and `run` that was stopped in its first epoch."""
    place = tmp_path_factory.mktemp("place")
    for split, count in (("train", 6), ("val", 2)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                picture(place / "data" / split / name / f"{number}.png", 100 * label + number)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(2, patch)
        done = train(place)
    assert done.exit_code == 75, done.output
    assert not (place / "run/model.safetensors").exists()
    return place


def checkpoint_of(place: Path) -> Path:
    return max((place / "run/checkpoints").glob("step-*.ckpt"))


def computed(place: Path, part: str, path: Path) -> Path:
    """The weights file that a dictionary of the checkpoint is, put together here."""
    tensors = torch.load(checkpoint_of(place), weights_only=True)[part]
    tensors = {k.removeprefix("network."): v for k, v in tensors.items() if "network." in k}
    classes = tuple(ClassName(name, name) for name in CLASSES)
    save(path, tensors, WeightsMetadata(NETWORK, classes, VIEW))
    return path


def answers(weights: Path, place: Path) -> tuple[Any, Any]:
    """What predict and eval say, without the names of the files."""
    data = place / "data/val"
    flags = ("--device", "cpu", "--format", "json")
    predicted = inceptcli("predict", data, "--weights", weights, *flags)
    measured = inceptcli("eval", weights, "--data", data, *flags)
    assert (predicted.exit_code, measured.exit_code) == (0, 0), predicted.output + measured.output
    fields = json.loads(measured.stdout)
    return json.loads(predicted.stdout), {k: fields[k] for k in ("top1", "loss")}


@pytest.mark.train
@pytest.mark.parametrize("raw", [False, True])
def test_a_checkpoint_of_the_first_epoch_answers_as_its_weights(
    raw: bool, stopped: Path, tmp_path: Path
) -> None:
    output, source = tmp_path / "ours.safetensors", checkpoint_of(stopped)
    done = inceptcli("import", source, "--output", output, *(["--raw"] if raw else []))
    assert done.exit_code == 0, done.output
    part, other = ("current_model_state", "state_dict")[:: 1 if raw else -1]
    expected = computed(stopped, part, tmp_path / "expected.safetensors")
    assert answers(output, stopped) == answers(expected, stopped)
    others = computed(stopped, other, tmp_path / "other.safetensors")
    assert answers(output, stopped)[0] != answers(others, stopped)[0]
    kind = "the raw weights" if raw else "the moving average of the weights"
    assert f"using {part}: {kind}" in done.stderr
    assert f"skipped {other}: the" in done.stderr
    assert f"from {stopped}/run: recipe.yaml, and the classes in" in done.stderr
    metadata = read_metadata(output)
    assert (metadata.network, metadata.preprocessing) == (NETWORK, VIEW)
    assert (metadata.averaged, metadata.epoch, metadata.metrics) == (not raw, None, {})
    shown = inceptcli("summarize", output).stdout
    assert "imported from checkpoint of an inceptcli run: source sha256" in shown
    assert f"weights {part}, step 3" in shown
    assert ("moving average of the weights" in shown) != raw


@pytest.mark.train
@pytest.mark.parametrize("advised_by", ["checkpoint", "run"])
def test_the_advised_command_works(advised_by: str, stopped: Path, tmp_path: Path) -> None:
    place = shutil.copytree(stopped, tmp_path / "a place")
    given = checkpoint_of(place) if advised_by == "checkpoint" else place / "run"
    data = place / "data/val"
    done = inceptcli("predict", data, "--weights", given)
    check_one_line(done, 1 if advised_by == "checkpoint" else 2, "inceptcli import ")
    command = shlex.split(done.stderr[done.stderr.index("inceptcli import ") :])
    assert inceptcli(*command[1:]).exit_code == 0
    written = command[-1]
    assert inceptcli("predict", data, "--weights", written, "--device", "cpu").exit_code == 0


@pytest.mark.train
def test_the_best_weights_stand_in_for_a_lost_recipe(stopped: Path, tmp_path: Path) -> None:
    place = shutil.copytree(stopped, tmp_path / "place")
    command = ("import", checkpoint_of(place), "--output", tmp_path / "ours.safetensors")
    listing = place / "run/data.jsonl.gz"
    for spoiled in (b"", b"no gzip", gzip.compress(b'{"sha256": ""}\n5\n'), None):
        if spoiled is None:
            listing.unlink()
        else:
            listing.write_bytes(spoiled)
        said = "step-000000003.ckpt: a checkpoint of an inceptcli run does not store its network"
        check_one_line(inceptcli(*command), 1, said)
    assert not (tmp_path / "ours.safetensors").exists()
    best = place / "run/model.safetensors"
    computed(place, "state_dict", best)
    (place / "run/recipe.yaml").unlink()
    calibrated = replace(read_metadata(best), calibration=Calibration(2.0, 1, (0.5,), "data"))
    copy_with_metadata(best, tmp_path / "calibrated", calibrated)
    (tmp_path / "calibrated").replace(best)
    done = inceptcli(*command)
    assert read_metadata(best).calibration is not None
    assert read_metadata(tmp_path / "ours.safetensors").calibration is None
    assert (done.exit_code, f"from {place}/run/model.safetensors: network" in done.stderr) == (
        0,
        True,
    )
    moved = shutil.copyfile(checkpoint_of(place), tmp_path / "alone.ckpt")
    done = inceptcli("import", moved, "--output", tmp_path / "ours.safetensors")
    check_one_line(done, 1, "has no readable ones")


@pytest.mark.train
def test_what_the_run_says_is_not_said_otherwise(stopped: Path, tmp_path: Path) -> None:
    command = ("import", checkpoint_of(stopped), "--output", tmp_path / "ours.safetensors")
    for flags, named in (
        (("--mean", "0.5"), "leave out the preprocessing flags"),
        (("--classes", stopped / "data/train"), "leave out --classes"),
        (("--partial",), "leave out --partial"),
    ):
        check_one_line(inceptcli(*command, *flags), 2, named)
    place = shutil.copytree(stopped, tmp_path / "place")
    recipe = place / "run/recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: irv1", "name: irv2"))
    command = ("import", checkpoint_of(place), "--output", tmp_path / "ours.safetensors")
    check_one_line(inceptcli(*command), 1, "does not fit the run directory that it is in: ")
    assert not (tmp_path / "ours.safetensors").exists()


@pytest.mark.train
def test_weights_record_what_trained_them_and_checkpoints_without_an_average_are_raw(
    stopped: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(stopped / "data")
    done = train(tmp_path, "--epochs", "1", "--set", "averaging.decay=0")
    assert done.exit_code == 0, done.output
    weights = tmp_path / "run/model.safetensors"
    environment = read_metadata(weights).environment
    assert environment["torch"] == torch.__version__
    assert environment["devices"] == "1 x cpu"
    said = ", ".join(f"{name} {value}" for name, value in environment.items())
    assert f"trained with {said}\n" in inceptcli("summarize", weights).stdout
    fields = json.loads(inceptcli("summarize", weights, "--format", "json").stdout)
    assert fields["weights"]["environment"] == environment
    output = tmp_path / "ours.safetensors"
    done = inceptcli("import", checkpoint_of(tmp_path), "--output", output)
    assert done.exit_code == 0, done.output
    assert "using state_dict: the raw weights" in done.stderr
    assert "skipped" not in done.stderr
    ours, best = load_tensors(output), load_tensors(weights)
    assert ours.keys() == best.keys()
    assert all(torch.equal(ours[key], best[key]) for key in best)
    assert not read_metadata(output).averaged
