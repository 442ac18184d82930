"""No callback depends on where it stands among the others."""

from __future__ import annotations

import random
from typing import Any

import pytest
from lightning.pytorch import Trainer

from inceptcli.training.trainer import trainer_on_devices
from tests.training.conftest import Train
from tests.training.test_loggers import csv_logger
from tests.training.test_resume import assert_same_run


@pytest.mark.train
@pytest.mark.parametrize("seed", [None, 0, 1], ids=["reversed", "shuffled", "shuffled otherwise"])
def test_callbacks_in_another_order_make_the_same_run(
    train: Train, whole_run: Train, monkeypatch: pytest.MonkeyPatch, seed: int | None
) -> None:
    listed = whole_run(trainer__logger="csv", checkpoint__every_steps=2)

    def reordered(settings: Any, callbacks: list[Any], **options: Any) -> Trainer:
        others = callbacks[::-1]
        if seed is not None:
            random.Random(seed).shuffle(others)
        assert others != callbacks
        return trainer_on_devices(settings, callbacks=others, **options)

    monkeypatch.setattr("inceptcli.training.run.trainer_on_devices", reordered)
    other = train("other", trainer__logger="csv", checkpoint__every_steps=2)
    assert_same_run(listed, other)
    dead_units = "dead_units.csv"
    assert (other.path / dead_units).read_text() == (listed.path / dead_units).read_text()
    assert (other.path / "curves.png").is_file()
    figures, expected = csv_logger(other), csv_logger(listed)
    assert figures.keys() == expected.keys()
    for name in expected.keys() - {"seconds", "images_per_second"}:
        assert figures[name] == expected[name]
