"""`train --init`: the network is the weights' own, and what is loaded and what trains is said."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.jobs.train import TrainRequest
from inceptcli.networks.registry import NETWORKS, build, network_options
from inceptcli.prediction.export import export_onnx
from inceptcli.recipe.file import read_recipe
from inceptcli.recipe.schema import check
from inceptcli.training.initial_weights import completed
from inceptcli.training.resuming import EarlierRun
from inceptcli.weights.fetched.published import published_preprocessing
from inceptcli.weights.file import load_tensors, read_metadata, save
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.cli.conftest import check_one_line, inceptcli, picture

FEW = ["--batch-size", "4", "--workers", "0", "--epochs", "1", "--accelerator", "cpu"]
OPTIONS = {
    "width": 0.5,
    "repeats": (1, 1, 1),
    "residual_scales": (0.3, 0.3, 0.3),
    "shortcut": False,
    "batch_norm_on_sums": "all",
    "dropout": 0.4,
    "batch_norm_eps": 0.01,
}
VIEW = Preprocessing(
    (76, 80), "squash", 0.9, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), antialias=False
)


def weights_file(path: Path, initialized: tuple[str, ...] = (), **changes: object) -> Path:
    """Weights of an unusual network, of three classes."""
    torch.manual_seed(3)
    options = network_options("irv1", num_classes=3, **{**OPTIONS, **changes})
    classes = tuple(ClassName(name, name) for name in ("x", "y", "z"))
    metadata = WeightsMetadata(options, classes, VIEW, initialized=list(initialized))
    save(path, build(options).state_dict(), metadata)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weights_file(tmp_path_factory.mktemp("weights") / "start.safetensors")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split, count in (("train", 4), ("val", 1)):
        for place, name in enumerate(("ant", "bee")):
            for number in range(count):
                picture(tmp_path / "data" / split / name / f"{number}.png", 10 * place + number)
    return tmp_path / "data"


@pytest.mark.train
def test_a_run_takes_the_network_and_the_preprocessing_of_its_weights(
    weights: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    start = shutil.copyfile(weights, tmp_path / "start.safetensors")
    command = [
        "train", "--init", start, "--data", data, "--freeze", "all-but-head", "--output", run, *FEW
    ]  # fmt: skip
    done = inceptcli(*command)
    assert done.exit_code == 0, done.output
    total = len(load_tensors(weights))
    lines = (
        f"loaded {total - 2} of {total} tensors; new: classifier (2 classes)",
        "frozen: all but the classifier; 1,794 of 2,0",
    )
    for line in lines:
        assert line in done.stderr
        assert line in (run / "train.log").read_text()
    metadata = read_metadata(run / "model.safetensors")
    assert metadata.network == network_options("irv1", num_classes=2, **OPTIONS)
    assert metadata.preprocessing == VIEW
    recipe = read_recipe(run / "recipe.yaml")
    assert recipe["optimizer"]["learning_rate"] == 1e-4  # the recipe finetune
    trained = load_tensors(run / "model.safetensors")
    old = load_tensors(weights)
    assert {key for key in old if not torch.equal(old[key], trained[key])} == {
        "classifier.weight", "classifier.bias"
    }  # fmt: skip

    again = inceptcli("train", "--recipe", run / "recipe.yaml", "--output", tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again/recipe.yaml").read_bytes() == (run / "recipe.yaml").read_bytes()

    start.unlink()
    before = (run / "recipe.yaml").read_bytes()
    done = inceptcli(*command)  # the same, without the weights
    assert done.exit_code == 0, done.output
    assert "already finished" in done.stderr
    assert (run / "recipe.yaml").read_bytes() == before
    done = inceptcli(*command, "--epochs", "2")
    assert done.exit_code == 0, done.output
    assert "epoch 2/2" in done.stderr
    done = inceptcli(*command[: -len(FEW) - 1], tmp_path / "new", *FEW)
    check_one_line(done, 2, "start.safetensors: no such weights file or run directory")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--arch", "iv4"], "--arch or network.name iv4: --init {} has weights of name irv1"),
        (["--recipe", "paper/irv2"], "network.name irv2: --init {} has weights of name irv1"),
        (
            ["--set", "network.repeats=[5, 10, 5]"],
            "network.repeats [5, 10, 5]: --init {} has weights of repeats [1, 1, 1]",
        ),
        (
            ["--set", "network.shortcut=true"],
            "network.shortcut true: --init {} has weights of shortcut false",
        ),
        (["--set", "network.width=1.0"], "of width 0.5; leave it out to use that of the weights"),
        (["--set", "network.batch_norm_eps=0.001"], "of batch_norm_eps 0.01"),
        (["--set", "network.batch_norm_on_sums=none"], "of batch_norm_on_sums all"),
        (["--set", "network.residual_scales=[1, 1, 1]"], "of residual_scales [0.3, 0.3, 0.3]"),
    ],
)
def test_what_contradicts_the_weights_is_an_error(
    weights: Path, data: Path, tmp_path: Path, flags: list[str], said: str
) -> None:
    done = inceptcli(
        "train", "--init", weights, "--data", data, "--output", tmp_path / "run", *FEW, *flags
    )
    check_one_line(done, 2, said.format(weights))
    assert not (tmp_path / "run").exists()


def test_an_onnx_file_is_refused_before_there_is_a_run(
    weights: Path, data: Path, tmp_path: Path
) -> None:
    exported, run = tmp_path / "start.onnx", tmp_path / "run"
    export_onnx(weights, exported)
    done = inceptcli("train", "--init", exported, "--data", data, *FEW, "--output", run)
    check_one_line(done, 2, "an ONNX file; give the weights it was exported from")
    assert not run.exists()


@pytest.mark.train
def test_what_only_training_uses_may_be_said_and_gray_images_be_wanted(
    weights: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = inceptcli(
        "train", "--init", weights, "--data", data, "--output", run, *FEW, "--image-size", "75",
        "--set", "network.dropout=0.1", "--set", "network.in_channels=1", "--freeze", "stem",
        "--set", "augmentation.style=authors", "--set", "augmentation.fast_mode=true",
        "--set", "augmentation.hue=0.1",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "3 input channels, adapted to 1" in done.stderr
    assert "frozen: the stem;" in done.stderr
    said = "fast_mode: changes brightness and saturation only; augmentation.hue not used"
    assert f"augmentation.{said}" in done.stderr
    metadata = read_metadata(run / "model.safetensors")
    assert (metadata.network.dropout, metadata.network.in_channels) == (0.1, 1)
    view = metadata.preprocessing
    assert (view.image_size, view.mean) == ((75, 75), (0.5,))
    assert view.std == pytest.approx((0.3,))
    assert (view.crop_fraction, view.antialias) == (0.9, False)


def test_only_a_classifier_may_be_new(data: Path, tmp_path: Path) -> None:
    untrained = weights_file(tmp_path / "untrained.safetensors", ("stem.0.conv.weight",))
    flags = ["--data", data, *FEW, "--output", tmp_path / "run"]
    done = inceptcli("train", "--init", untrained, *flags)
    assert done.exit_code == 1
    assert (
        "1 of the network's tensors would start at random values, the first is stem." in done.stderr
    )
    done = inceptcli("train", "--freeze", "stem", *flags)
    check_one_line(done, 2, "would freeze random weights; give --init")


@pytest.mark.train
def test_unnamed_classes_are_new_though_folders_have_their_numbers(
    weights: Path, tmp_path: Path
) -> None:
    metadata = read_metadata(weights)
    classes = tuple(ClassName(str(row), f"class {row}") for row in range(3))
    for place in range(3):
        for split, count in (("train", 2), ("val", 1)):
            for number in range(count):
                path = tmp_path / "data" / split / str(place) / f"{number}.png"
                picture(path, 10 * place + number)
    said = {}
    for unnamed in (True, False):
        start, run = tmp_path / f"{unnamed}.safetensors", tmp_path / f"run-{unnamed}"
        changed = dataclasses.replace(metadata, classes=classes, unnamed=unnamed)
        save(start, load_tensors(weights), changed)
        command = ("train", "--init", start, "--data", tmp_path / "data", "--output", run)
        done = inceptcli(*command, *FEW, "--freeze", "all-but-head", "--lr", "1e-9")
        assert done.exit_code == 0, done.output
        said[unnamed] = done.stderr
    assert "new: classifier (3 classes)" in said[True]
    assert "new: nothing" in said[False]
    old = load_tensors(weights)["classifier.weight"]
    kept = load_tensors(tmp_path / "run-False/model.safetensors")["classifier.weight"]
    fresh = load_tensors(tmp_path / "run-True/model.safetensors")["classifier.weight"]
    torch.testing.assert_close(kept, old, rtol=0, atol=1e-5)
    assert not torch.allclose(fresh, old, rtol=0, atol=1e-3)


@pytest.mark.train
def test_the_classifiers_own_rate_follows_the_rate(
    weights: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = inceptcli(
        "train", "--init", weights, "--data", data, "--output", run, *FEW, "--lr", "0.01"
    )
    assert done.exit_code == 0, done.output
    rates = read_recipe(run / "recipe.yaml")["optimizer"]
    assert rates["head_learning_rate"] == pytest.approx(0.1)


def test_a_rate_that_no_optimizer_has_is_not_scaled(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"optimizer": "sgd", "optimizer.learning_rate": 0.01}
    assert TrainRequest("finetune", changes).settings().optimizer.head_learning_rate is None
    recipe = tmp_path / "recipe.yaml"  # with the usual rate
    recipe.write_text("optimizer: {name: adamw, head_learning_rate: 0.01}\n")
    changes = {"optimizer.learning_rate": 0.0001}
    rates = TrainRequest(str(recipe), changes).settings().optimizer
    assert (rates.learning_rate, rates.head_learning_rate) == pytest.approx((0.0001, 0.001))
    changes["optimizer.head_learning_rate"] = 0.5
    assert TrainRequest(str(recipe), changes).settings().optimizer.head_learning_rate == 0.5


@pytest.mark.parametrize("name", ["imagenet", "iv4-tf:imagenet", "ens-adv"])
def test_a_published_name_tells_the_network_before_it_is_fetched(name: str, tmp_path: Path) -> None:
    recipe = completed(check({"network": {"init": name}}), EarlierRun())
    network = "iv4-tf" if "iv4" in name else "irv2-tf"
    assert recipe.network.name == network
    assert recipe.data.crop_fraction == published_preprocessing(network).crop_fraction
    assert recipe.network.repeats == list(NETWORKS[network].repeats or ())
    narrow = ["train", "--init", name, "--set", "network.width=0.5", "--output", tmp_path / "run"]
    said = f"network.width 0.5: --init {name} has weights of width 1.0; leave it out"
    check_one_line(inceptcli(*narrow, *FEW), 2, said)


@pytest.mark.parametrize("command", ["eval", "summarize", "predict", "train"])
def test_a_run_before_its_first_validation_is_called_that(
    command: str, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "recipe.yaml").write_text("{}")
    (run / "checkpoints/step-000000007.ckpt").write_text("")
    arguments: dict[str, list[object]] = {
        "eval": [run],
        "summarize": [run],
        "predict": [data, "--weights", run],
        "train": ["--init", run, "--data", data],
    }
    done = inceptcli(command, *arguments[command])
    check_one_line(done, 2, "step 7 is saved, and the first validation writes the weights")
    assert f"inceptcli train --recipe {run}/recipe.yaml --output {run}" in done.stderr
    assert (
        f"to use step 7, run inceptcli import {run}/checkpoints/step-000000007.ckpt" in done.stderr
    )
