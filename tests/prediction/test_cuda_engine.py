"""On a CUDA device: the CPU's answers within rounding, and nothing that waits unasked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from inceptcli.prediction.engines.torch_engine import CudaEngine, TorchEngine
from inceptcli.prediction.ensemble import Ensemble
from inceptcli.prediction.predict import Seen, examine
from inceptcli.prediction.recorded_options import Precision
from tests.cli.conftest import inceptcli
from tests.prediction.test_precision import BF16_ROUNDING, FLOAT32_ROUNDING, deviations
from tests.prediction.test_torch_engine import random_crops

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

AT_ONCE = 6


def engine_of(
    weights: Path, precision: Precision = "32-true", compile_network: bool = False
) -> CudaEngine:
    found = TorchEngine.load(
        weights, "cuda", at_once=AT_ONCE, precision=precision, compile_network=compile_network
    )
    assert isinstance(found, CudaEngine)
    return found


@pytest.mark.parametrize("number", [1, AT_ONCE, 2 * AT_ONCE + 1])
def test_float32_is_the_cpus(weights: Path, engine: TorchEngine, number: int) -> None:
    crops = random_crops(number)
    found = engine_of(weights).logits(crops)
    assert deviations(found, engine.logits(crops)) < FLOAT32_ROUNDING


def test_the_same_from_run_to_run(weights: Path) -> None:
    crops, cuda = random_crops(AT_ONCE), engine_of(weights)
    np.testing.assert_array_equal(cuda.logits(crops), cuda.logits(crops))


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "bf16-true", "16-true"])
def test_other_precisions_differ_by_their_rounding(
    weights: Path, engine: TorchEngine, precision: Precision
) -> None:
    crops = random_crops(AT_ONCE)
    found = engine_of(weights, precision).logits(crops)
    assert found.dtype == np.float32
    assert FLOAT32_ROUNDING < deviations(found, engine.logits(crops)) < BF16_ROUNDING


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_compiled_it_answers_any_number_of_crops(
    weights: Path, engine: TorchEngine, precision: Precision
) -> None:
    compiled = engine_of(weights, precision, compile_network=True)
    rounding = FLOAT32_ROUNDING if precision == "32-true" else BF16_ROUNDING
    for number in (AT_ONCE, 1, 4, AT_ONCE, 2 * AT_ONCE + 1):
        crops = random_crops(number)
        assert deviations(compiled.logits(crops), engine.logits(crops)) < rounding


@pytest.mark.parametrize("compile_network", [False, True])
def test_two_batches_are_begun_without_waiting(
    weights: Path, engine: TorchEngine, compile_network: bool
) -> None:
    cuda = engine_of(weights, compile_network=compile_network)
    crops = random_crops(4 * AT_ONCE).reshape(4, AT_ONCE, 75, 75, 3)
    for _ in range(3):
        cuda.logits(crops[0])
    torch.cuda.set_sync_debug_mode("error")
    try:
        first, second = cuda.start([crops[0]]), cuda.start(list(crops[1][:4, None]))
        found = [first()]
        third = cuda.start([crops[2][:2], crops[2][2:]])
        found += [second(), third()]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = [engine.logits(each) for each in (crops[0], crops[1][:4], crops[2])]
    for one, other in zip(found, expected, strict=True):
        assert deviations(one, other) < FLOAT32_ROUNDING


def test_two_engines_take_turns(weights: Path, engine: TorchEngine) -> None:
    crops = random_crops(5)
    alone = Ensemble([engine], batch_size=1)
    turns = Ensemble([engine_of(weights)], batch_size=1, others=[[engine_of(weights)]])
    found = [seen for _, seen in examine(range(5), crops.__getitem__, turns)]
    expected = [seen for _, seen in examine(range(5), crops.__getitem__, alone)]
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Seen)
        assert isinstance(other, Seen)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=FLOAT32_ROUNDING)


def test_too_little_memory_names_the_batch_size(weights: Path, pictures: Sequence[Path]) -> None:
    arguments = ["predict", *map(str, pictures), "--weights", str(weights), "--device", "cuda"]
    torch.cuda.set_per_process_memory_fraction(1e-6)
    torch.cuda.empty_cache()
    try:
        done = inceptcli(*arguments)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert done.exit_code == 1
    assert "memory of cuda" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("flags", [[], ["--crops", "10"], ["--batch-size", "4", "--crops", "12"]])
def test_predict_answers_as_on_a_cpu(
    weights: Path, pictures: Sequence[Path], tmp_path: Path, flags: list[str]
) -> None:
    (tmp_path / "pictures" / "5x.jpg").write_text("no picture")
    arguments = ["predict", str(tmp_path / "pictures"), "--weights", str(weights), *flags]
    answers = {}
    for device in ("cpu", "cuda"):
        done = inceptcli(*arguments, "--format", "jsonl", "--device", device)
        assert done.exit_code == 1
        answers[device] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["path"] for row in answers["cpu"]] == [row["path"] for row in answers["cuda"]]
    for one, other in zip(answers["cpu"], answers["cuda"], strict=True):
        assert (one["error"] is None) == (other["error"] is None)
        for first, second in zip(one["predictions"], other["predictions"], strict=True):
            assert first["probability"] == pytest.approx(second["probability"], abs=1e-4)


def test_embeddings_and_heat_maps_are_had(
    weights: Path, pictures: Sequence[Path], tmp_path: Path
) -> None:
    output = tmp_path / "embeddings.npy"
    done = inceptcli(
        "predict", str(pictures[0]), "--weights", str(weights), "--device", "cuda",
        "--precision", "bf16-mixed", "--embeddings", str(output),
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert np.isfinite(np.load(output)).all()
