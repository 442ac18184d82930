from __future__ import annotations

import csv
from io import StringIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from inceptcli.text import defused, duration, joined_names, printable, seconds_in


def test_printable_escapes_what_would_break_the_line() -> None:
    assert printable("a b é 猫") == "a b é 猫"
    assert printable("a\nb\x1b\udcff") == "a\\nb\\x1b\\udcff"


def test_defused_text_is_no_formula() -> None:
    assert [defused(text) for text in ("=1+1", "+1", "-1", "@a", "\t=1", "a=1", "")] == [
        "'=1+1", "'+1", "'-1", "'@a", "'\t=1", "a=1", ""
    ]  # fmt: skip


def test_durations_add_up() -> None:
    texts = ("45s", "30m", "3h50m", "1d2h", "0s", "1d1h1m1s")
    assert [seconds_in(text) for text in texts] == [45, 1800, 13800, 93600, 0, 90061]


@pytest.mark.parametrize("text", ["", "5", "3h50", "h", "1.5h", "-3h", "3 h", "3h\n", "٣h", "5w"])
def test_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 45s, 30m, 3h50m or 1d2h"):
        seconds_in(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.6, "1 min 00 s"),
        (1880, "31 min 20 s"),
        (7500, "2 h 05 min"),
        (273_600, "3 d 04 h"),
    ],
)
def test_durations_are_written_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@given(some.lists(some.text()))
@example(["a;b", "c"])
@example(['"a', ""])
def test_joined_names_are_read_back_by_a_csv_reader(names: list[str]) -> None:
    plain = [name for name in names if not {*name} & {*';"\r\n'}]
    text = joined_names(names)
    assert next(csv.reader(StringIO(text, newline=""), delimiter=";"), []) == names
    if len(plain) == len(names) and names != [""]:
        assert text == ";".join(names)
