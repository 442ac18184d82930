from __future__ import annotations

from collections.abc import Iterator
from threading import Event, active_count
from time import sleep

import pytest

from inceptcli.prediction.read_ahead import read_batches
from inceptcli.prediction.readers import default_threads


def test_items_come_in_the_order_of_their_sources() -> None:
    def read(number: int) -> int:
        sleep(0.002 * (number % 3))
        return number

    batches = list(read_batches(range(20), read, batch_size=4, threads=3))
    assert [number for batch in batches for number in batch] == list(range(20))
    assert all(len(batch) <= 4 for batch in batches)


def test_no_sources_are_no_batches() -> None:
    assert not any(read_batches([], str, batch_size=4, threads=2))


def test_what_is_ready_is_not_kept_waiting_for_a_source_yet_to_come() -> None:
    answered = Event()

    def sources() -> Iterator[int]:
        yield 1
        assert answered.wait(timeout=600)
        yield 2

    batches = filter(None, read_batches(sources(), str, batch_size=16, threads=2))
    assert next(batches) == ["1"]
    answered.set()
    assert next(batches) == ["2"]


def test_sources_are_taken_only_a_little_ahead() -> None:
    taken = []

    def sources() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    batches = read_batches(sources(), str, batch_size=3, threads=2)
    while not next(batches):
        pass
    sleep(0.1)
    # 3 given out, 5 waiting, 1 that finds no place, and the next one not asked for.
    assert len(taken) <= 9


def test_leaving_early_ends_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inceptcli.prediction.read_ahead.GRACE", 600)  # however slow they are here

    def read(number: int) -> int:
        sleep(0.05)
        return number

    before = active_count()
    batches = read_batches(iter(range(1000)), read, batch_size=1, threads=2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert active_count() <= before


def test_an_exception_of_the_reader_is_raised_where_the_item_is_due() -> None:
    def read(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        list(read_batches([1, 0], read, batch_size=1, threads=1))


def test_an_exception_of_the_sources_is_raised() -> None:
    def sources() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(read_batches(sources(), str, batch_size=1, threads=1))


def test_between_one_and_four_threads_decode() -> None:
    assert 1 <= default_threads() <= 4


def test_an_empty_list_says_that_the_next_items_are_still_being_read() -> None:
    may_read = Event()

    def read(number: int) -> int:
        assert number < 2 or may_read.wait(timeout=600)
        return number

    found = []
    for batch in read_batches(range(4), read, batch_size=2, threads=1):
        found += batch
        if len(found) == 2 and not batch:
            may_read.set()
    assert found == [0, 1, 2, 3]


def test_what_is_read_already_follows_at_once() -> None:
    done: list[int] = []
    batches = read_batches(range(4), lambda number: done.append(number), batch_size=2, threads=1)
    while not next(batches):
        pass
    while len(done) < 4:
        sleep(0.001)
    sleep(0.05)  # from the call's end to the future's
    assert len(next(batches)) == 2
