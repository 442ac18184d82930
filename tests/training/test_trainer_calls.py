"""Trainer.test, validate and predict, as from a notebook, give what `eval` and the network give."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from inceptcli.data.loading.dataset import Batch, EvaluationDataset, collate
from inceptcli.data.open_data import open_for_evaluation
from inceptcli.data.pixels.shapes import CLASSES, Shapes
from inceptcli.errors import UserError
from inceptcli.prediction.engines.torch_engine import TorchEngine
from inceptcli.training.module import MEASURES, ImageClassifier
from inceptcli.training.run_directory import RunDirectory
from inceptcli.weights.file import load_tensors, read_metadata, save
from tests.cli.conftest import TINY, inceptcli, picture
from tests.training.conftest import random_weights

pytestmark = pytest.mark.train

CUDA = pytest.param(
    "gpu", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
)
SILENT: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("runs") / "shapes"
    done = inceptcli("train", *TINY, "--output", folder)
    assert done.exit_code == 0, done.output
    return RunDirectory(folder)


@pytest.fixture(autouse=True)
def _as_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without TF32, and without Lightning's advice on workers and devices."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def images_of(module: ImageClassifier) -> EvaluationDataset:
    return EvaluationDataset(Shapes(0, 10, (75, 75), "val"), module.preprocessing)


def loader(images: Any, **options: Any) -> DataLoader[Any]:
    return DataLoader(images, **{"batch_size": 4, "collate_fn": collate, **options})


def trainer(accelerator: str = "cpu", **options: Any) -> Trainer:
    return Trainer(accelerator=accelerator, devices=1, **{**SILENT, **options})


def logits_of(trainer: Trainer, module: ImageClassifier, loader: DataLoader[Any]) -> torch.Tensor:
    found = trainer.predict(module, loader)
    assert found is not None
    return torch.cat(found)  # type: ignore[arg-type]


@pytest.mark.parametrize("accelerator", ["cpu", CUDA])
def test_test_gives_the_figures_of_eval(run: RunDirectory, accelerator: str) -> None:
    module = ImageClassifier.load(run.path)
    (found,) = trainer(accelerator).test(module, loader(images_of(module)), verbose=False)
    shown = json.loads(inceptcli("eval", run.path, "--format", "json").stdout)
    assert set(found) == {f"test_{name}" for name in MEASURES}
    assert found["test_top1"] == pytest.approx(shown["top1"])
    assert found["test_top5"] == pytest.approx(shown["top5"])
    assert found["test_loss"] == pytest.approx(shown["loss"], rel=1e-3)
    (row,) = run.read_metrics()
    assert found["test_loss"] == pytest.approx(float(row["val_loss"]), rel=1e-3)


def test_test_means_are_over_images_and_begin_anew(run: RunDirectory) -> None:
    module, ours = ImageClassifier.load(run.path), trainer()
    figures = [
        ours.test(module, loader(images_of(module), batch_size=size), verbose=False)[0]
        for size in (3, 10, 3)
    ]
    assert figures[0] == pytest.approx(figures[1], rel=1e-5)
    assert figures[0] == figures[2]


@pytest.mark.parametrize("accelerator", ["cpu", CUDA])
def test_predict_gives_the_logits_of_the_network_in_order(
    run: RunDirectory, accelerator: str
) -> None:
    module = ImageClassifier.load(run.path)
    images = images_of(module)
    found = logits_of(trainer(accelerator), module, loader(images))
    assert found.shape == (10, 10)
    assert found.dtype == torch.float32
    crops = np.stack([images.preprocessing.crop(images.source.image(n)) for n in range(10)])
    engine = TorchEngine.load(run.weights, "cpu")
    np.testing.assert_allclose(found.cpu().numpy(), engine.logits(crops), atol=2e-3, rtol=2e-3)
    with torch.no_grad():
        direct = module.cpu().eval()(torch.from_numpy(crops).permute(0, 3, 1, 2))
    assert torch.allclose(found.cpu(), direct, atol=2e-3)


def test_predict_computes_in_the_trainers_precision(run: RunDirectory) -> None:
    module = ImageClassifier.load(run.path)
    exact = logits_of(trainer(), module, loader(images_of(module)))
    rounded = logits_of(trainer(precision="bf16-mixed"), module, loader(images_of(module)))
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).abs().max() < 0.1 * exact.abs().max()


def test_plain_batches_of_images_are_taken(run: RunDirectory) -> None:
    module = ImageClassifier.load(run.path)
    images = images_of(module)
    batch: Batch = next(iter(loader(images, batch_size=10)))
    expected = logits_of(trainer(), module, loader(images, batch_size=10))
    pairs = list(zip(batch.images, batch.labels, strict=True))
    plain: DataLoader[Any] = DataLoader(list(batch.images), batch_size=10)  # type: ignore[arg-type]
    with_labels: DataLoader[Any] = DataLoader(pairs, batch_size=10)  # type: ignore[arg-type]
    assert torch.allclose(logits_of(trainer(), module, plain), expected, atol=1e-4)
    assert torch.allclose(logits_of(trainer(), module, with_labels), expected, atol=1e-4)
    figures = [
        trainer().test(module, batches, verbose=False)[0]
        for batches in (with_labels, loader(images))
    ]
    assert figures[0] == pytest.approx(figures[1], rel=1e-4)


def test_validate_measures_too(run: RunDirectory) -> None:
    module = ImageClassifier.load(run.path)
    trainer().validate(module, loader(images_of(module)), verbose=False)
    (row,) = run.read_metrics()
    found = module.validation_results()
    assert found == pytest.approx({name: float(row[name]) for name in found}, rel=1e-3)


def test_images_that_are_normalized_already_are_refused(run: RunDirectory) -> None:
    module = ImageClassifier.load(run.path)
    batches: DataLoader[Any] = DataLoader(list(torch.zeros(2, 3, 75, 75)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must be uint8, 0 to 255, got torch\.float32"):
        trainer().predict(module, batches)


@pytest.fixture
def flowers(run: RunDirectory, tmp_path: Path) -> Path:
    """flowers/val with an image of each class and runs/flowers, as the guide has them."""
    for number, name in enumerate(CLASSES):
        picture(tmp_path / "flowers" / "val" / name / "image.png", number)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "flowers").symlink_to(run.path)
    return tmp_path / "flowers" / "val"


def test_the_notebook_of_the_guide_runs(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "inceptcli/guide/evaluation.md").read_text()
    (code,) = re.findall(r"<!-- notebook -->\n```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)  # it is ours
    assert names["logits"].shape == (10, 10)
    shown = inceptcli("eval", "runs/flowers", "--data", "flowers", "--format", "json")
    expected = json.loads(shown.stdout)
    (found,) = names["figures"]
    assert found["test_top1"] == pytest.approx(expected["top1"])
    assert found["test_loss"] == pytest.approx(expected["loss"], rel=1e-3)


def test_an_image_that_cannot_be_read_ends_it(run: RunDirectory, flowers: Path) -> None:
    (flowers / CLASSES[0] / "image.png").write_text("<html>")
    module = ImageClassifier.load(run.path)
    source = open_for_evaluation(str(flowers), [name.id for name in module.classes])
    batches = loader(EvaluationDataset(source, module.preprocessing))
    for ask in (trainer().predict, trainer().test):
        with pytest.raises(UserError, match="image 0 of the loader's dataset cannot be read: "):
            ask(module, batches)


def test_weights_without_a_classifier_are_refused(tmp_path: Path) -> None:
    path = random_weights(tmp_path / "weights.safetensors")
    metadata = replace(read_metadata(path), initialized=["classifier.weight", "classifier.bias"])
    save(path, load_tensors(path), metadata)
    with pytest.raises(UserError, match="has no trained classifier"):
        ImageClassifier.load(path)
