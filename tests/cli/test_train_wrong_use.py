"""Every wrong use of `train` is one line that names place, rule, value and remedy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import check_one_line, inceptcli, picture


def one_class(root: Path) -> None:
    picture(root / "train/cat/1.png", 1)
    picture(root / "val/cat/1.png", 2)


def empty_class(root: Path) -> None:
    picture(root / "train/cat/1.png", 1)
    (root / "train/dog").mkdir()
    picture(root / "val/cat/1.png", 2)


def unknown_class(root: Path) -> None:
    for name in ("cat", "dog"):
        picture(root / f"train/{name}/1.png", 1)
    picture(root / "val/fish/1.png", 2)


def no_classes(root: Path) -> None:
    picture(root / "1.png", 1)


def few_images(root: Path) -> None:
    for name in ("cat", "dog"):
        picture(root / f"train/{name}/1.png", 1)
        picture(root / f"val/{name}/1.png", 2)


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (one_class, 1, "cat"),
        (empty_class, 1, "dog"),
        (unknown_class, 1, "fish"),
        (no_classes, 2, "no class folders"),
        (few_images, 2, "--batch-size"),
    ],
)
def test_folders_that_cannot_be_trained_on(
    make: Callable[[Path], None], code: int, said: str, tmp_path: Path
) -> None:
    make(tmp_path / "data")
    done = inceptcli("train", "--data", tmp_path / "data", "--output", tmp_path / "run")
    check_one_line(done, code, said)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--arch", "resnet50"], "unknown network 'resnet50'; known: iv4, irv1, irv2"),
        (["--data", "missing"], "missing"),
        (["--image-size", "74"], "data.image_size must be greater than or equal to 75, got 74"),
        (["--image-size", "wide"], "data.image_size"),
        (["--batch-size", "1"], "data.batch_size must be at least 2"),
        (["--batch-size", "many"], "data.batch_size must be a valid integer or 'auto', got 'many'"),
        (["--epochs", "0"], "trainer.epochs must be greater than or equal to 1, got 0"),
        (["--lr", "-1"], "optimizer.learning_rate must be greater than 0, got -1.0"),
        (["--precision", "8-bit"], "trainer.precision must be '32-true'"),
        (["--devices", "none"], "trainer.devices"),
        (["--strategy", "nonsense"], "nonsense"),
        (["--set", "trainer.epoch=3"], "unknown key trainer.epoch"),
        (["--set", "trainer.epochs"], "section.key=value"),
        (["--set", "trainer.epochs=[1"], "--set trainer.epochs=[1: not YAML"),
        (
            ["--set", "data.path="],
            "--set data.path=: the value is empty; is a shell variable unset?",
        ),
        (["--set", "data.path=/set #2/train"], "YAML reads '/set'; put the value into quotes"),
        (
            ["--epochs", "5", "--set", "trainer.epochs=3"],
            "trainer.epochs is set by its option and by its key; give one of them",
        ),
        (["--set", "network.scales=3"], "unknown key network.scales"),
        (["--arch", "iv4", "--set", "network.shortcut=false"], "iv4 has no residual modules"),
        (
            ["--arch", "irv1-facenet", "--set", "network.auxiliary_weight=0.4"],
            "irv1-facenet has no auxiliary classifier; iv4, irv1, irv2, iv4-tf, irv2-tf, iv3 have",
        ),
        (
            ["--arch", "iv4-tf", "--set", "network.auxiliary_weight=0.4"],
            "at least 299, got 75; null trains without the auxiliary loss",
        ),
        (
            ["--set", "augmentation.policy=auto"],
            "augmentation.policy must be 'none', 'randaugment'",
        ),
        (["--set", "optimizer.name=adam"], "optimizer.name must be one of 'adamw', 'sgd'"),
        (["--recipe", "missing"], "known: demo"),
        (["--init", "missing"], "missing: no such weights"),
        (["--resume", "perhaps"], "--resume"),
        (["--output", "/proc/run"], "--output /proc/run: cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_flags_are_one_line_and_exit_code_two(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_one_line(inceptcli("train", *arguments), 2, said)
    assert list(tmp_path.iterdir()) == []


def test_an_optimizer_of_a_library_that_is_missing_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "timm", None)
    done = inceptcli("train", "--set", "optimizer.name=lamb")
    check_one_line(done, 1, "optimizer.name lamb needs timm; pip install 'inceptcli[timm]'")
