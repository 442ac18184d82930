"""Training with torch.compile: the same to rounding, and as exact after a stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from inceptcli.weights.file import load_tensors
from tests.compiler import needs_compiler
from tests.training.conftest import Train
from tests.training.test_resume import assert_same_run, rows, stop_at


@pytest.fixture(autouse=True)
def forget_what_was_compiled() -> Iterator[None]:
    yield
    torch.compiler.reset()


@pytest.mark.system
@needs_compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own
def test_a_compiled_run_is_the_usual_one_and_goes_on_exactly(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.utils import counters

    # Steps in proportion to the gradients: adaptive ones would enlarge what is rounded otherwise.
    recipe: dict[str, Any] = {
        "trainer__epochs": 1,
        "network__dropout": 0.0,
        "optimizer": {"name": "sgd", "learning_rate": 1e-3},
    }
    usual = train("usual", **recipe)
    counters.clear()
    compiled = train("compiled", trainer__compile=True, **recipe)
    # Nothing is compiled for validation, and the two statistics of a module are.
    assert counters["stats"]["unique_graphs"] == 6
    assert not counters["graph_break"]
    expected, found = rows(usual)[0], rows(compiled)[0]
    assert float(found["train_loss"]) == pytest.approx(float(expected["train_loss"]), rel=1e-5)
    assert float(found["val_loss"]) == pytest.approx(float(expected["val_loss"]), rel=1e-4)
    # The last batch norms see four values for a channel, which enlarges what was rounded.
    for key, tensor in load_tensors(usual.weights).items():
        assert torch.allclose(load_tensors(compiled.weights)[key], tensor, atol=1e-4), key

    with monkeypatch.context() as during:
        stop_at(2, during)
        with pytest.raises(SystemExit):
            train("stopped", trainer__compile=True, **recipe)
    assert_same_run(train("stopped", trainer__compile=True, **recipe), compiled)
