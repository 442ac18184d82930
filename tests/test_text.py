from __future__ import annotations

from inceptcli.text import defused, printable


def test_printable_escapes_what_would_break_the_line() -> None:
    assert printable("a b é 猫") == "a b é 猫"
    assert printable("a\nb\x1b\udcff") == "a\\nb\\x1b\\udcff"


def test_defused_text_is_no_formula() -> None:
    assert [defused(text) for text in ("=1+1", "+1", "-1", "@a", "\t=1", "a=1", "")] == [
        "'=1+1", "'+1", "'-1", "'@a", "'\t=1", "a=1", ""
    ]  # fmt: skip
