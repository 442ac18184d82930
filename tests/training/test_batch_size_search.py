"""`data.batch_size: auto`: the largest batch that fits, and nothing else of the search remains."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inceptcli.errors import UsageError, UserError
from inceptcli.recipe.file import override, read_recipe
from inceptcli.recipe.schema import check
from inceptcli.training import batch_size_search
from inceptcli.training.batch_size_search import Trial, find_batch_size
from inceptcli.training.module import Classifier
from inceptcli.training.plan import plan
from inceptcli.training.resuming import differing_keys
from inceptcli.training.stopping import Stopping
from inceptcli.training.trainer import quiet_lightning
from tests.cli.conftest import check_one_line, inceptcli
from tests.training.conftest import TINY, Train
from tests.training.test_resume import assert_same_run

pytestmark = pytest.mark.train

Memory = Callable[..., list[int]]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """Lets batches of so many images fit; gives the sizes that are tried."""

    def of(images: int, said: str = "CUDA out of memory. Tried to allocate") -> list[int]:
        original, sizes = Classifier.training_step, []

        def training_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
            if isinstance(self, Trial):
                sizes.append(len(batch.labels))
            if len(batch.labels) > images:
                raise torch.OutOfMemoryError(said)
            return original(self, batch, batch_idx)

        monkeypatch.setattr(batch_size_search, "has_limit", lambda device: True)
        monkeypatch.setattr(Classifier, "training_step", training_step)
        return sizes

    return of


def found(train_size: int, **changes: Any) -> int:
    quiet_lightning()
    stopping = Stopping()
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    dotted |= {"data.batch_size": "auto", "data.train_size": train_size}
    planned = plan(check(override(TINY, dotted)))
    with stopping.listening():
        return find_batch_size(planned, stopping).batch_size


@pytest.mark.parametrize(
    ("fitting", "images", "expected"), [(10, 22, 9), (2, 22, 2), (30, 12, 12), (16, 22, 15)]
)
def test_what_fits_less_a_margin_is_found_up_to_all_images(
    memory: Memory, fitting: int, images: int, expected: int
) -> None:
    tried = memory(fitting)
    assert found(images) == expected
    assert max(size for size in tried if size <= fitting) >= expected
    assert tried.count(2) == 3  # the optimizer has its state from the second step on


@pytest.mark.parametrize("said", ["HIP out of memory.", "CUBLAS_STATUS_ALLOC_FAILED"])
def test_a_lack_of_memory_that_lightning_does_not_know_is_one_too(
    memory: Memory, said: str
) -> None:
    memory(4, said)
    assert found(22) == 3


def test_when_not_even_two_images_fit_the_line_is_that_of_out_of_memory(memory: Memory) -> None:
    memory(1)
    with pytest.raises(UserError, match="out of memory with batches of 2 images of 75x75 pixels"):
        found(22)


def test_the_run_is_that_of_the_number_and_keeps_it(
    train: Train, memory: Memory, tmp_path: Path, notices: list[str]
) -> None:
    tried = memory(6)
    directory = train("auto", data__batch_size="auto")
    assert any("auto: 5 images per device and step, 5% below the limit" in line for line in notices)
    assert read_recipe(directory.path / "recipe.yaml")["data"]["batch_size"] == 5
    direct = train("direct", data__batch_size=5)
    assert_same_run(direct, directory)
    assert {path.name for path in directory.path.rglob("*")} == {
        path.name for path in direct.path.rglob("*")
    }
    assert {path.name for path in tmp_path.iterdir()} == {"auto", "direct"}

    trials = len(tried)
    train("auto", data__batch_size="auto", trainer__epochs=3)
    assert len(tried) == trials
    assert_same_run(train("direct", data__batch_size=5, trainer__epochs=3), directory)


def test_no_file_no_random_state_and_no_signal_handler_remain(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    memory(4)
    torch.default_generator.manual_seed(7)
    state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    there: set[Path] = set()
    original = Trial.on_train_start

    def start(self: Trial) -> None:
        there.update(tmp_path.iterdir())
        original(self)

    monkeypatch.setattr(Trial, "on_train_start", start)
    found(22)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], numpy_state)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert there | set(tmp_path.iterdir()) == set()


def test_a_trial_holds_the_average_and_the_gradients_that_accumulate(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory(2)
    held: list[tuple[bool, int]] = []
    original = Trial.optimizer_zero_grad

    def zero_grad(self: Trial, *arguments: Any) -> None:
        original(self, *arguments)
        kept = any(parameter.grad is not None for parameter in self.parameters())
        held.append((kept, sum(tensor.numel() for tensor in self._average)))

    monkeypatch.setattr(Trial, "optimizer_zero_grad", zero_grad)
    found(4, averaging__decay=0.9, trainer__accumulate_batches=2)
    kept, averaged = held[-1]
    assert kept
    assert averaged > 500_000
    found(4, averaging__decay=0.0)
    assert held[-1] == (False, 0)


def test_a_signal_ends_the_search_with_75(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = memory(20)
    original = Trial.on_train_batch_start

    def start(self: Trial, batch: Any, batch_idx: int) -> None:
        if self.batch_size == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, batch, batch_idx)

    monkeypatch.setattr(Trial, "on_train_batch_start", start)
    with pytest.raises(SystemExit) as stopped:
        found(22)
    assert stopped.value.code == 75
    assert max(tried) == 2


def test_the_search_counts_as_time_before_stop_after(
    train: Train, memory: Memory, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    tried = memory(20)
    moment = [0.0]
    monkeypatch.setattr("inceptcli.training.stopping.time.monotonic", lambda: moment[0])
    original = Trial.on_train_batch_start

    def start(self: Trial, batch: Any, batch_idx: int) -> None:
        moment[0] += 10
        original(self, batch, batch_idx)

    monkeypatch.setattr(Trial, "on_train_batch_start", start)
    with pytest.raises(SystemExit) as stopped:
        train(data__batch_size="auto", trainer__stop_after="45s")
    assert stopped.value.code == 75
    assert len(tried) == 4
    assert "stopped by trainer.stop_after before training" in notices[-1]


def test_a_cpu_has_no_limit_to_find(tmp_path: Path) -> None:
    done = inceptcli(
        "train", "--batch-size", "auto", "--accelerator", "cpu", "--output", tmp_path / "run"
    )
    assert done.exit_code == 2
    assert "needs a CUDA device, got cpu; give --batch-size a number" in done.stderr
    assert not (tmp_path / "run").exists()


def test_several_devices_are_told_to_look_on_one(memory: Memory) -> None:
    memory(8)
    with pytest.raises(UsageError, match=r"needs a single device, got 2 .* --devices 1"):
        found(22, trainer__devices=2, trainer__strategy="ddp")


def test_auto_differs_from_no_number_of_a_run() -> None:
    number = check(TINY)
    auto = check(override(TINY, {"data.batch_size": "auto"}))
    assert differing_keys(number, auto) == []
    assert differing_keys(auto, number) == ["data.batch_size"]


def test_one_image_is_too_few() -> None:
    arguments = ["--batch-size", "auto", "--set", "data.train_size=1"]
    check_one_line(inceptcli("train", *arguments), 2, "1 training image(s) are too few")


@pytest.mark.train
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_memory_of_a_cuda_device_ends_the_search(train: Train) -> None:
    torch.cuda.set_per_process_memory_fraction(2**31 / torch.cuda.mem_get_info()[1])
    try:
        directory = train(
            data__batch_size="auto", data__train_size=20_000, trainer__accelerator="gpu",
            trainer__epochs=1, data__workers=2,
        )  # fmt: skip
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    recipe = directory.read_recipe()
    assert recipe is not None
    assert recipe.data.batch_size != "auto"
    assert 16 < recipe.data.batch_size < 20_000
