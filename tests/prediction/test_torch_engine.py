from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Literal

import numpy as np
import pytest
import torch

from inceptcli.errors import UsageError, UserError
from inceptcli.prediction.engines.devices import devices_of
from inceptcli.prediction.engines.torch_engine import (
    CudaEngine,
    TorchEngine,
    _exact_convolutions,
    find_device,
)
from tests.cli.conftest import check_one_line, inceptcli
from tests.prediction.conftest import CLASSES


def random_crops(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(256, size=(number, 75, 75, 3), dtype=np.uint8)


def test_logits_are_float32_one_row_for_each_picture(engine: TorchEngine) -> None:
    logits = engine.logits(random_crops(3))
    assert logits.shape == (3, len(CLASSES))
    assert logits.dtype == np.float32


def test_classes_and_preprocessing_are_those_of_the_file(engine: TorchEngine) -> None:
    assert tuple(name.name for name in engine.classes) == CLASSES
    assert engine.preprocessing.image_size == (75, 75)


def test_on_a_cpu_the_batch_does_not_change_a_single_bit(engine: TorchEngine) -> None:
    crops = random_crops(5)
    together = engine.logits(crops)
    alone = np.concatenate([engine.logits(crop[None]) for crop in crops])
    np.testing.assert_array_equal(together, alone)


def test_logits_are_those_of_the_network_in_evaluation_mode(engine: TorchEngine) -> None:
    crops = random_crops(2)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = engine.network.eval()(images).numpy()
    np.testing.assert_allclose(engine.logits(crops), expected, atol=1e-4)


def test_a_network_left_in_training_mode_is_put_into_evaluation_mode(weights: Path) -> None:
    from inceptcli.weights.file import load_network

    network, metadata = load_network(weights)
    assert not TorchEngine(network.train(), metadata, "cpu").network.training


def test_too_little_memory_names_the_batch_size(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine.load(weights, "cpu")

    def fail(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(engine.network, "forward", fail)
    with pytest.raises(UserError, match=r"3 crops at once .* smaller --batch-size"):
        engine.logits(random_crops(3))


@pytest.mark.parametrize(
    ("cuda_devices", "metal", "expected"), [(2, False, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_auto_takes_the_best_device(
    cuda_devices: int, metal: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cuda_devices, metal)
    assert find_device("auto") == torch.device(expected)


@pytest.mark.parametrize("name", ["cuda:2", "mps"])
def test_a_device_that_is_not_there_is_named_with_those_that_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cuda_devices=2, metal=False)
    with pytest.raises(UserError, match=rf"--device {name}: .*usable: cuda, cpu"):
        find_device(name)


def test_a_device_by_number_is_that_device(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda_devices=2, metal=False)
    assert find_device("cuda:1") == torch.device("cuda:1")


def pretend(monkeypatch: pytest.MonkeyPatch, cuda_devices: int, metal: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda_devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda_devices)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: metal)
    monkeypatch.setattr("inceptcli.prediction.engines.devices._may_have_accelerator", lambda: True)


def test_batch_norm_is_folded(weights: Path) -> None:
    network = TorchEngine.load(weights, "cpu").network
    assert torch.nn.BatchNorm2d not in {type(part) for part in network.modules()}


@pytest.mark.parametrize(
    ("device", "devices", "expected"),
    [
        ("auto", 1, ["auto"]),
        ("cuda:1", 1, ["cuda:1"]),
        ("auto", "auto", ["cuda:0", "cuda:1"]),
        ("cuda", 2, ["cuda:0", "cuda:1"]),
        ("cuda:1", "auto", ["cuda:1"]),
        ("cpu", "auto", ["cpu"]),
    ],
)
def test_devices_by_number(
    device: str,
    devices: int | Literal["auto"],
    expected: list[str],
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, cuda_devices=2, metal=False)
    assert devices_of([weights], device, devices) == expected


@pytest.mark.parametrize(("device", "there"), [("cuda", 2), ("cuda:0", 1), ("cpu", 1)])
def test_more_devices_than_there_are_is_an_error(
    device: str, there: int, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cuda_devices=2, metal=False)
    with pytest.raises(UsageError, match=f"--devices 3: --device {device} has only {there} here"):
        devices_of([weights], device, 3)


def test_an_onnx_file_is_computed_by_one_device(weights: Path, onnx_weights: Path) -> None:
    assert devices_of([onnx_weights], "auto", "auto") == ["auto"]
    with pytest.raises(UsageError, match="is an ONNX file, which runs on one device"):
        devices_of([weights, onnx_weights], "auto", 2)


@pytest.mark.parametrize("devices", ["0", "-1", "two", "1.5", "99999"])
def test_no_number_of_devices_is_refused(devices: str, weights: Path, tmp_path: Path) -> None:
    for command in (["predict", str(tmp_path), "--weights"], ["eval"]):
        done = inceptcli(*command, str(weights), f"--devices={devices}")
        check_one_line(done, 2, f"--devices must be a number or auto, got {devices}")


def test_a_thread_that_has_queued_its_work_does_not_end_the_exactness_of_another() -> None:
    device, seen = torch.device("cuda"), list[bool]()
    inside, leave, left = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with _exact_convolutions(device):
            inside.set()
            leave.wait(60)

    def second() -> None:
        with _exact_convolutions(device):
            left.wait(60)
            seen.append(torch.backends.cudnn.allow_tf32)

    allowed = torch.backends.cudnn.allow_tf32
    threads = [threading.Thread(target=work) for work in (first, second)]
    threads[0].start()
    inside.wait(60)
    threads[1].start()
    leave.set()
    threads[0].join()
    left.set()
    threads[1].join()
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32 == allowed


def test_threads_use_the_buffers_of_a_gpu_one_after_the_other() -> None:
    class Pipeline:
        inside = 0

        def start(self, images: object) -> None:
            self.inside += 1
            sleep(0.01)
            together.append(self.inside)
            self.inside -= 1

    together = list[int]()
    engine = CudaEngine.__new__(CudaEngine)
    engine._pipeline = Pipeline()  # type: ignore[assignment]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(engine.start, [[random_crops(1)]] * 8))
    assert together == [1] * 8
