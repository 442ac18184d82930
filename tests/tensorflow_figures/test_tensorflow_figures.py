"""This program against TensorFlow's own figures, which `measure.py` wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from inceptcli.data.pixels.crops import cut
from inceptcli.data.pixels.distortion import random_window
from inceptcli.data.pixels.tensorflow_resizing import resized, resized_pixels
from inceptcli.networks.registry import network_options
from inceptcli.networks.torch_modules import batch_norm
from inceptcli.recipe.file import find_recipe, read_with_bases
from inceptcli.recipe.schema import Recipe, check
from inceptcli.training.callbacks.averaging import ParameterAverage
from inceptcli.training.module import Classifier, momentum_of_batch
from inceptcli.weights.trained_network import preprocessing_of
from tests.tensorflow_figures.pictures import EVALUATED, RESIZES, picture
from tests.training.conftest import TINY, trained

FIGURES: dict[str, Any] = json.loads(Path(__file__).with_name("figures.json").read_text())
ROUNDED = 0.005 + 0.01
"""Decimals of the figures, and TensorFlow's float32 positions, of values of 0 to 255."""


def recipe_of(name: str) -> Recipe:
    return check(read_with_bases(find_recipe(f"paper/{name}"))[0], name)


def difference(ours: NDArray[Any], theirs: Any) -> float:
    expected = np.array(theirs)
    assert ours.shape == expected.shape
    return float(np.abs(ours.astype(float) - expected).max())


def test_the_figures_name_their_versions() -> None:
    assert FIGURES["tensorflow"].startswith("2.")
    assert FIGURES["tf_slim"]


@pytest.mark.parametrize("name", RESIZES)
@pytest.mark.parametrize("method", ["bilinear", "nearest", "bicubic", "area"])
def test_the_four_resize_methods_are_tensorflows(name: str, method: Any) -> None:
    size, target = RESIZES[name]
    theirs = FIGURES["resizes"][name][method]
    assert difference(resized(picture(size), target, method), theirs) < ROUNDED
    pixels = resized_pixels(picture(size), target, method)
    assert difference(pixels, np.clip(theirs, 0, 255)) < 0.5 + ROUNDED
    # A box has the same values as the whole, in the order of axes that saves memory too.
    box = resized(picture(size), target, method, (1, 2, 3, 6))
    assert difference(box, np.array(theirs)[2:6, 1:3]) < ROUNDED


@pytest.mark.parametrize("name", ["iv4", "irv1", "irv2", "irv2-10-20-10"])
def test_the_papers_recipes_evaluate_slims_crop(name: str) -> None:
    size, target = EVALUATED
    view = replace(preprocessing_of(recipe_of(name), 3), image_size=target)
    image = picture(size)
    assert difference(cut(image, view, 1)[0], FIGURES["evaluation_crop"]) < 0.5 + ROUNDED
    antialiased = replace(view, antialias=True).crop(image)
    assert difference(antialiased, FIGURES["evaluation_crop"]) > 50


@pytest.mark.parametrize(("height", "width"), [(375, 500), (96, 64)])
def test_training_crops_have_tensorflows_areas_and_aspects(height: int, width: int) -> None:
    theirs = FIGURES["crops"][f"{height}x{width}"]
    chosen = recipe_of("iv4").augmentation
    torch.manual_seed(0)
    boxes = np.array(
        [random_window(height, width, chosen.crop_area, chosen.crop_aspect) for _ in range(4000)]
    )
    areas, aspects = boxes[:, 2] * boxes[:, 3] / (height * width), boxes[:, 3] / boxes[:, 2]
    assert theirs["share_below_tenth"] == (areas < 0.0995).mean() == 0
    assert areas.mean() == pytest.approx(theirs["mean_area"], abs=0.015)
    for found, measure in ((areas, "area"), (aspects, "aspect")):
        quantiles = theirs[f"{measure}_quantiles"]
        for share, quantile in zip(FIGURES["crops"]["shares"], quantiles, strict=True):
            below = (found < quantile - 1e-3).mean(), (found <= quantile + 1e-3).mean()
            # Three standard errors of 4000 draws.
            assert below[0] - 0.024 < share < below[1] + 0.024, (measure, share)


@pytest.mark.parametrize("decay", [0.9999, 0.99])
def test_the_average_remembers_as_long_as_tensorflows(decay: float) -> None:
    recipe = recipe_of("iv4").averaging
    assert recipe.decay == 0.9999
    average = ParameterAverage(decay, recipe.warm_up)
    averaged, network = nn.Linear(1, 1).double(), nn.Linear(1, 1).double()
    average.pair(averaged, network)
    updates, found = FIGURES["average_memory"]["updates"], []
    nn.init.ones_(network.weight)
    average.update(0)
    nn.init.zeros_(network.weight)
    for number in range(1, max(updates) + 1):
        average.update(number)
        if number in updates:
            found.append(averaged.weight.item())
    assert found == pytest.approx(FIGURES["average_memory"][str(decay)], rel=1e-3, abs=1e-30)


@pytest.mark.parametrize(
    ("batches", "updates", "source"),
    [(20, 20, "20 workers"), (5, 20, "20 workers"), (1, 20, "20 workers"), (1, 1, "1 worker")],
    ids=["1 device", "4 devices", "20 devices", "1 worker"],
)
def test_statistics_have_the_memory_of_tensorflows(batches: int, updates: int, source: str) -> None:
    theirs, recipe = FIGURES["statistics"], recipe_of("iv4")
    assert recipe.network.batch_norm_momentum == pytest.approx(1 - theirs["decay"])
    assert recipe.trainer.batch_norm_updates == 20
    momentum = momentum_of_batch(1 - theirs["decay"], updates, batches)
    norm = batch_norm(1, network_options("iv4", batch_norm_momentum=momentum))
    ones, found = torch.ones(2, 1, 3, 3), []
    assert norm.running_mean is not None
    for step in range(1, max(theirs["steps"]) + 1):
        for _ in range(batches):
            norm(ones)
        if step in theirs["steps"]:
            found.append(norm.running_mean.item())
    assert found == pytest.approx(theirs[source], rel=1e-4)


@pytest.mark.train
def test_a_run_that_accumulates_batches_keeps_as_much_of_its_statistics_as_20_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: set[float] = set()

    def step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.momentum is not None
                kept.add((1 - module.momentum) ** 5)  # batches, of one step
        return training_step(self, batch, batch_idx)

    training_step = Classifier.training_step
    monkeypatch.setattr(Classifier, "training_step", step)
    changes = {"trainer__epochs": 1, "trainer__accumulate_batches": 5}
    trained(
        tmp_path / "run",
        {
            **changes, "trainer__batch_norm_updates": 20,
            "network": {**TINY["network"], "batch_norm_momentum": 0.0003},
        },
    )  # fmt: skip
    (found,) = kept
    assert found == pytest.approx(1 - FIGURES["statistics"]["20 workers"][0], abs=1e-6)
