"""Processes that decode beside a fast device: the same answers, each once, whoever is killed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from inceptcli.data.loading.forking import loading_context
from inceptcli.data.pixels import decode as decoding
from inceptcli.data.pixels.decode import MAXIMUM_PIXELS, UnreadableImage
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.prediction.engines.engine import Pending
from inceptcli.prediction.ensemble import Ensemble
from inceptcli.prediction.predict import examine
from inceptcli.prediction.readers import readers
from inceptcli.weights.metadata import ClassName, OutputKind

pytestmark = pytest.mark.skipif(loading_context() is None, reason="processes are not forked here")


class Device:
    """An engine whose logits are the mean colors of a crop; says what it is asked for."""

    classes = tuple(ClassName(name, name) for name in ("red", "green", "blue"))
    preprocessing = Preprocessing((8, 8))
    calibration = None
    output_kind: OutputKind = "softmax"
    thresholds = None

    def __init__(self) -> None:
        self.events: list[str] = []
        self.begun = 0

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        means: NDArray[np.float32] = images.mean(axis=(1, 2)).astype(np.float32)
        return means

    def start(self, images: list[NDArray[np.uint8]]) -> Pending:
        number, self.begun = self.begun, self.begun + 1
        self.events.append(f"start {number}")

        def result() -> NDArray[np.float32]:
            self.events.append(f"wait {number}")
            return self.logits(np.concatenate(images))

        return result


def picture(number: int) -> NDArray[np.uint8]:
    if number % 7 == 3:
        raise UnreadableImage(f"picture {number} is none")
    return np.random.default_rng(number).integers(256, size=(9 + number % 5, 12, 3), dtype=np.uint8)


@pytest.mark.usefixtures("open_files")
def test_processes_read_what_this_one_would_have_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inceptcli.prediction.readers.usable_cores", lambda: 5)
    ids = set()

    def read(number: int) -> tuple[int, NDArray[np.uint8]]:
        return os.getpid(), picture(number)

    with readers(read, None, fast=True) as (reading, threads):
        assert threads == 5
        for number in range(20):
            if number % 7 == 3:
                with pytest.raises(UnreadableImage, match=f"picture {number} is none"):
                    reading(number)
                continue
            process, pixels = reading(number)
            ids.add(process)
            np.testing.assert_array_equal(pixels, picture(number))
    assert os.getpid() not in ids


def test_threads_read_where_no_process_can_be_started(
    monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("inceptcli.prediction.readers.usable_cores", lambda: 5)
    monkeypatch.setattr(os, "fork", refuse)
    with readers(str, None, fast=True) as (reading, threads):
        assert (reading, threads) == (str, 4)
    assert notices == [
        "no processes to read images (Resource temporarily unavailable); threads read them"
    ]


def test_processes_of_torchrun_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inceptcli.prediction.readers.usable_cores", lambda: 16)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with readers(str, None, fast=True) as (_, threads):
        assert threads == 16
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with readers(str, None, fast=True) as (_, threads):
        assert threads == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    with readers(str, None, fast=True) as (reading, threads):
        assert (reading, threads) == (str, 4)


@pytest.mark.usefixtures("open_files")
@pytest.mark.parametrize("crops", [1, 10])
def test_answers_are_those_of_threads_in_the_order_of_the_items(
    monkeypatch: pytest.MonkeyPatch, crops: int
) -> None:
    ensemble = Ensemble([Device()], crops, 30)  # type: ignore[arg-type]
    expected = list(examine(range(40), picture, ensemble, threads=2))
    monkeypatch.setattr("inceptcli.prediction.readers.usable_cores", lambda: 5)
    found = list(examine(range(40), picture, ensemble))
    assert [number for number, _ in found] == list(range(40))
    for (_, one), (_, other) in zip(found, expected, strict=True):
        if isinstance(other, UnreadableImage):
            assert str(one) == str(other)
        else:
            assert not isinstance(one, UnreadableImage)
            np.testing.assert_array_equal(one.probabilities, other.probabilities)
            np.testing.assert_array_equal(one.views[0], other.views[0])


def test_together_they_decode_one_large_image_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_ROOM", decoding._ROOM)
    held: list[str] = []

    class Lock:
        def __enter__(self) -> None:
            held.append("taken")

        def __exit__(self, *_: object) -> None:
            held.append("given back")

    decoding.share_room(4, Lock())
    with decoding._ROOM.taken(MAXIMUM_PIXELS // 4):
        assert held == []
    with decoding._ROOM.taken(MAXIMUM_PIXELS // 4 + 1):
        assert held == ["taken"]
    assert held == ["taken", "given back"]


def test_a_batch_is_begun_before_the_last_one_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def batches(items: object, read: Callable[[int], object], *_: int) -> Iterator[list[object]]:
        for numbers in ([], [0, 1], [2, 4], [], [5], [3], [6]):
            yield [read(number) for number in numbers]

    monkeypatch.setattr("inceptcli.prediction.predict.read_batches", batches)
    device = Device()
    found = examine(range(7), picture, Ensemble([device], batch_size=2), threads=1)
    assert [number for number, _ in found] == [0, 1, 2, 4, 5, 3, 6]
    assert device.events == [
        "start 0", "start 1", "wait 0",
        "wait 1",  # nothing is ready: what is there is handed out
        "start 2", "wait 2",  # nothing of the next batch can be computed
        "start 3", "wait 3",
    ]  # fmt: skip


def test_devices_take_turns_and_answers_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def batches(items: object, read: Callable[[int], object], *_: int) -> Iterator[list[object]]:
        for numbers in ([0], [1], [2], [4], [], [5], [6]):
            yield [read(number) for number in numbers]

    monkeypatch.setattr("inceptcli.prediction.predict.read_batches", batches)
    first, second = Device(), Device()
    second.events = first.events
    second.begun = 100
    ensemble = Ensemble([first], batch_size=1, others=[[second]])
    found = list(examine(range(7), picture, ensemble, threads=1))
    assert [number for number, _ in found] == [0, 1, 2, 4, 5, 6]
    assert first.events == [
        "start 0", "start 100", "start 1", "wait 0", "start 101", "wait 100",
        "wait 1", "wait 101",  # nothing is ready
        "start 2", "start 102", "wait 2", "wait 102",
    ]  # fmt: skip
    alone = list(examine(range(7), picture, Ensemble([Device()], batch_size=1), threads=1))
    for (_, one), (_, other) in zip(found, alone, strict=True):
        assert not isinstance(one, UnreadableImage)
        assert not isinstance(other, UnreadableImage)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
