"""The training loss against the libraries that define it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from timm.loss.binary_cross_entropy import BinaryCrossEntropy
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from inceptcli.errors import UsageError
from inceptcli.recipe.file import override
from inceptcli.recipe.schema import check
from inceptcli.recipe.sections import LossSection
from inceptcli.training.loss import TrainingLoss
from inceptcli.training.plan import plan
from tests.cli.conftest import TINY, check_one_line, inceptcli, picture
from tests.training.conftest import TINY as RECIPE

WEIGHTS = [0.5, 1.0, 2.0, 4.0]
SMOOTHING = 0.1


def loss_of(smoothing: float = SMOOTHING, **settings: Any) -> TrainingLoss:
    weights = settings.get("class_weights")
    return TrainingLoss(LossSection(**settings), weights, smoothing)


@pytest.fixture
def logits() -> Tensor:
    return 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=["labels", "mixed"])
def targets(request: pytest.FixtureRequest) -> Tensor:
    labels = torch.tensor([0, 1, 2, 3, 3, 0])
    if request.param == "labels":
        return labels
    one_hot = functional.one_hot(labels, 4).float()
    return 0.7 * one_hot + 0.3 * one_hot.roll(1, 0)  # as mixup does


def soft(targets: Tensor) -> Tensor:
    return functional.one_hot(targets, 4).float() if targets.ndim == 1 else targets


def smoothed(targets: Tensor) -> Tensor:
    return soft(targets) * (1 - SMOOTHING) + SMOOTHING / 4


def test_the_default_is_cross_entropy_with_label_smoothing(logits: Tensor, targets: Tensor) -> None:
    expected = functional.cross_entropy(logits, targets, label_smoothing=SMOOTHING)
    assert torch.equal(loss_of()(logits, targets), expected)


def test_class_weights_are_those_of_torch_with_probabilities_as_targets(
    logits: Tensor, targets: Tensor
) -> None:
    criterion = torch.nn.CrossEntropyLoss(torch.tensor(WEIGHTS), label_smoothing=SMOOTHING)
    found = loss_of(class_weights=WEIGHTS)(logits, targets)
    torch.testing.assert_close(found, criterion(logits, soft(targets)))


def test_the_binary_loss_smooths_and_averages_as_timm_does(logits: Tensor) -> None:
    labels = torch.tensor([0, 1, 2, 3, 3, 0])
    expected = BinaryCrossEntropy(smoothing=SMOOTHING)(logits, labels)
    torch.testing.assert_close(loss_of(name="binary")(logits, labels), expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_binary_loss_takes_several_labels(logits: Tensor, weights: list[float] | None) -> None:
    several = (torch.rand(6, 4, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    pos_weight = None if weights is None else torch.tensor(weights)
    criterion = torch.nn.BCEWithLogitsLoss(pos_weight=pos_weight)
    found = loss_of(name="binary", class_weights=weights)(logits, several)
    torch.testing.assert_close(found, criterion(logits, smoothed(several)))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_binary_focal_loss_is_torchvisions(logits: Tensor, gamma: float) -> None:
    labels = torch.tensor([0, 1, 2, 3, 3, 0])
    expected = sigmoid_focal_loss(logits, soft(labels), -1, gamma, "mean")
    found = loss_of(0.0, name="binary", focal_gamma=gamma)(logits, labels)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("name", ["cross-entropy", "binary"])
def test_the_focal_loss_is_its_formula(
    logits: Tensor, targets: Tensor, name: str, weights: list[float] | None
) -> None:
    terms = []
    for row, truth in zip(logits.double(), smoothed(targets).double(), strict=True):
        p = row.softmax(0) if name == "cross-entropy" else row.sigmoid()
        for c, weight in enumerate(weights or [1.0] * 4):
            terms.append(-weight * truth[c] * (1 - p[c]) ** 1.5 * p[c].log())
            if name == "binary":
                terms.append(-(1 - truth[c]) * p[c] ** 1.5 * (1 - p[c]).log())
    expected = torch.stack(terms).sum() / (6 if name == "cross-entropy" else 24)
    found = loss_of(name=name, class_weights=weights, focal_gamma=1.5)(logits, targets)
    torch.testing.assert_close(found, expected.float())


@pytest.mark.parametrize("name", ["cross-entropy", "binary"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_certain_answers_have_finite_gradients(name: str, gamma: float) -> None:
    extreme = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 30.0, 17.0]], requires_grad=True)
    loss = loss_of(0.0, name=name, class_weights=[1.0, 2.0, 3.0], focal_gamma=gamma)
    for labels in ([0, 1], [1, 0]):
        (gradient,) = torch.autograd.grad(loss(extreme, torch.tensor(labels)), extreme)
        assert gradient.isfinite().all()


def settings(weights: object) -> Any:
    return check({**RECIPE, "loss": {"class_weights": weights}})


def test_balanced_weights_are_images_by_classes_times_images_of_the_class() -> None:
    found = plan(settings("balanced")).class_weights  # 22 shapes: 3 of two classes, 2 of eight
    assert found == pytest.approx([22 / 30] * 2 + [22 / 20] * 8)
    assert plan(settings(None)).class_weights is None
    assert plan(settings([1] * 9 + [2.5])).class_weights == (*[1] * 9, 2.5)
    with pytest.raises(UsageError, match="has 2 numbers for 10 classes; give one for each, in "):
        plan(settings([1, 2]))
    few = override(settings("balanced").as_dict(), {"data.train_size": 4})
    with pytest.raises(UsageError, match="balanced: no training image has class "):
        plan(check(few))


def test_classes_that_cannot_be_weighted_are_named(tmp_path: Path) -> None:
    for number, name in enumerate(3 * ["ants", "bees"]):
        part = "val" if number > 3 else "train"
        picture(tmp_path / "data" / part / name / f"{number}.png", number)
    command = ["train", *TINY, "--data", tmp_path / "data", "--output", tmp_path / "run", "--set"]
    for weights, said in (
        ("[1,2,3]", "has 3 numbers for 2 classes; give one for each, in the order of the classes: "
         "ants, bees"),
        ("[1,0]", "loss.class_weights must be greater than 0 or 'balanced', got 0"),
        ("[1,1e39]", "loss.class_weights must be less than or equal to 1000000"),
        ("balance", "loss.class_weights must be a valid list or 'balanced', got 'balance'"),
    ):  # fmt: skip
        check_one_line(inceptcli(*command, f"loss.class_weights={weights}"), 2, said)
    check_one_line(inceptcli(*command, "loss=bce"), 2, "loss.name must be 'cross-entropy' or 'bin")
    assert not (tmp_path / "run").exists()
