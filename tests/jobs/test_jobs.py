"""The other functions: what the commands do, with ordinary Python values and errors."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inceptcli
from inceptcli.data.pixels.shapes import CLASSES
from inceptcli.evaluation.measures import Evaluation
from inceptcli.jobs.arguments import plain_values
from inceptcli.jobs.train import KEYS, TrainRequest
from inceptcli.networks.registry import NETWORKS
from inceptcli.recipe.keys import recipe_keys
from inceptcli.weights.file import load_tensors
from tests.cli.conftest import inceptcli as command
from tests.cli.conftest import picture
from tests.prediction.conftest import IDS, draw

GUIDE = Path(__file__).parents[2] / "inceptcli/guide/python.md"
SMALL: dict[str, Any] = {
    "network.repeats": [1, 1, 1],
    "network.width": 0.25,
    "data.train_size": 12,
    "data.val_size": 10,
}
OPTIONS: dict[str, Any] = {
    "arch": "irv1", "image_size": 75, "batch_size": 4, "accelerator": "cpu"
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_summary_is_that_of_the_command(name: str) -> None:
    summary = inceptcli.summarize(name, num_classes=7, image_size=(80, 96))
    shown = command("summarize", name, "--num-classes", "7", "--image-size", "80x96",
                    "--format", "json")  # fmt: skip
    expected = json.loads(shown.stdout)
    assert (summary.parameters, summary.multiply_adds) == (
        expected["parameters"], expected["multiply_adds"],
    )  # fmt: skip
    assert len(summary.stages) == len(expected["stages"])


def test_a_summary_of_weights_has_their_classes_and_size(weights: Path) -> None:
    summary = inceptcli.summarize(weights)
    assert (summary.num_classes, summary.image_size) == (len(IDS), (75, 75))
    with pytest.raises(ValueError, match="--num-classes needs the name of a network"):
        inceptcli.summarize(weights, num_classes=3)
    with pytest.raises(ValueError, match="at least 75x75"):
        inceptcli.summarize("irv1", image_size=74)
    with pytest.raises(FileNotFoundError, match="irv9: neither a network nor a weights file"):
        inceptcli.summarize("irv9")
    for size in (99.5, "99", (99,), [99, 99.5]):
        with pytest.raises(ValueError, match="image_size must be one or two whole numbers"):
            inceptcli.summarize("irv1", image_size=size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "ask",
    [
        lambda weights: inceptcli.train(""),
        lambda weights: inceptcli.summarize(""),
        lambda weights: inceptcli.network(""),
        lambda weights: inceptcli.evaluate(weights, ""),
        lambda weights: inceptcli.evaluate(weights, against=""),
        lambda weights: inceptcli.evaluate(weights, labels=""),
        lambda weights: inceptcli.calibrate("", "val"),
        lambda weights: inceptcli.calibrate(weights, "val", output=""),
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    ask: Callable[[Path], object], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="the value is empty, which would mean the current folder"):
        ask(weights)
    assert not [*tmp_path.iterdir()]


def test_a_network_by_name_is_a_torch_module_with_random_weights() -> None:
    network = inceptcli.network("irv1", num_classes=3, repeats=(1, 1, 1), in_channels=1)
    assert network.training
    assert network(torch.zeros(2, 1, 75, 75)).shape == (2, 3)
    with pytest.raises(ValueError, match="iv4 has no residual modules"):
        inceptcli.network("iv4", shortcut=False)
    for wrong in (
        {"depth": 2}, {"width": 5}, {"shortcut": "z"}, {"in_channels": 0}, {"freeze": "stem"}
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"network.{next(iter(wrong))}"):
            inceptcli.network("irv1", **wrong)
    for classes in (0, -1, 1.5):
        with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1"):
            inceptcli.network("irv1", num_classes=classes)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1"):
            inceptcli.summarize("irv1", num_classes=classes)  # type: ignore[arg-type]


def test_a_network_of_weights_has_them(weights: Path) -> None:
    network = inceptcli.network(weights)
    assert not network.training
    found, expected = network.state_dict(), load_tensors(weights)
    assert sorted(found) == sorted(expected)
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
    with pytest.raises(FileNotFoundError, match=r"irv9: neither a network nor .*networks: iv4"):
        inceptcli.network("irv9")
    with pytest.raises(ValueError, match="define their own classes"):
        inceptcli.network(weights, num_classes=2)


@pytest.fixture
def labeled(tmp_path: Path) -> Path:
    for number, name in enumerate([*IDS, *IDS]):
        draw(tmp_path / "val" / name / f"{number}.png", number)
    return tmp_path / "val"


def test_an_evaluation_is_that_of_the_command(weights: Path, labeled: Path) -> None:
    found = inceptcli.evaluate(weights, labeled, crops=10)
    shown = command("eval", weights, "--data", labeled, "--crops", "10", "--format", "json")
    expected = json.loads(shown.stdout)
    assert isinstance(found, Evaluation)
    assert found.top1 == expected["top1"]
    assert found.loss == pytest.approx(expected["loss"])
    assert len(found.images) == expected["images"] == 12


def test_an_image_that_cannot_be_measured_is_an_error_or_listed(
    weights: Path, labeled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (labeled / IDS[0] / "a.png").write_text("text")
    with pytest.raises(RuntimeError, match=r"a\.png: not an image"):
        inceptcli.evaluate(weights, labeled)
    found = inceptcli.evaluate(str(weights), str(labeled), skip_unreadable=True)
    assert [Path(path).name for path, _ in found.skipped] == ["a.png"]
    with pytest.raises(ValueError, match="give --data"):
        inceptcli.evaluate(weights)
    assert capsys.readouterr() == ("", "")


def test_every_option_of_train_sets_a_key_of_a_recipe() -> None:
    assert set(KEYS.values()) <= {name for name, *_ in recipe_keys()}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"arch": "irv9"}, ValueError, "network.name"),
        ({"recipe": "none.yaml"}, ValueError, "none.yaml"),
        ({"changes": {"trainer.speed": 3}}, ValueError, "trainer.speed"),
        ({"epochs": 0}, ValueError, "trainer.epochs"),
        ({"resume": False}, ValueError, 'resume must be "auto" or "never", got False'),
        ({"speed": 3}, TypeError, "train has no option 'speed'; options: arch, data"),
        ({"recipe": ""}, ValueError, "recipe: the value is empty"),
        (
            {"epochs": 5, "changes": {"trainer.epochs": 3}},
            ValueError,
            "trainer.epochs is set by its option and by its key; give one of them",
        ),
    ],
)
def test_wrong_options_of_train_are_ordinary_errors(
    options: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        inceptcli.train(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_tuples_and_integers_of_numpy_are_values_of_a_recipe() -> None:
    given = {"data.image_size": (75, 96), "trainer.epochs": np.int64(3), "network.init": Path("a")}
    settings = TrainRequest("demo", plain_values(given)).settings()
    assert (settings.data.image_size, settings.trainer.epochs) == ([75, 96], 3)
    assert settings.network.init == "a"
    assert plain_values({"compile": True}) == {"compile": True}


@pytest.mark.train
def test_a_run_stops_in_time_goes_on_and_is_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    stopped = inceptcli.train(run, **OPTIONS, epochs=2, stop_after="0s", changes=SMALL)
    assert not stopped.finished
    done = inceptcli.train(run, **OPTIONS, epochs=2, changes=SMALL)
    assert gc.isenabled()  # it is not, while Lightning is imported
    assert done.finished
    assert [row["epoch"] for row in done.metrics] == [1, 2]
    assert (done.path, done.weights) == (run, run / "model.safetensors")
    assert capsys.readouterr() == ("", "")
    (answer,) = inceptcli.load(run).predict(np.zeros((75, 75, 3), np.uint8), top_k=1)
    assert answer.top[0].name in CLASSES
    with pytest.raises(ValueError, match="already contains a run"):
        inceptcli.train(run, **OPTIONS, epochs=2, changes=SMALL, resume="never")


@pytest.mark.train
def test_the_programs_of_guide_and_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):
        for split in ("train", "val"):
            name = ("rose", "tulip")[number % 2]
            picture(tmp_path / "flowers" / split / name / f"{number - number % 2}.png", number)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"<!-- python -->\n```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    smaller = 'epochs=1, accelerator="cpu", batch_size=4, ' + (
        "changes={'network.repeats': [1, 1, 1]}"
    )
    assert "epochs=3" in code
    exec(code.replace("epochs=3", smaller).replace("image_size=96", "image_size=75"))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("True ")
    assert shown[1].startswith("flowers/val/tulip/0.png ")
    assert shown[2].startswith("images[1] ")
    assert shown[3] == "(8, 1792)"
    assert shown[4].startswith("top-1 ")
    picture(tmp_path / "photos/a.jpg", 1)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (code,) = re.findall(r"<!-- python -->\n```python\n(.*?)```", readme, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] in ("rose", "tulip") for line in shown] == [True, True]
    assert names["features"].shape == (1, 1792)
    assert names["net"](torch.zeros(1, 3, 299, 299)).shape == (1, 10)
