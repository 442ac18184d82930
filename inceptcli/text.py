"""Names from files and folders are data: never markup, control codes or formulas. Durations."""

import os
import re
import textwrap
from collections.abc import Sequence
from typing import TextIO
from unicodedata import normalize

LONGEST_MESSAGE = 1500
"""Characters."""

FEWEST_CLASSES_FOR_TOP5 = 6
"""Of fewer classes the five most probable are all or nearly all: top-5 says nothing."""

COMMAND = re.compile(r"`[^`]+`|(?<=: )(?:inceptcli|hf) .+$")
"""A command in a message: between backticks, or behind a colon up to the end."""

NO_BREAK = "\ue000"
"""Of Unicode's private use; stands for a space in what is not to be broken."""

SECONDS_IN = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def printable(text: str) -> str:
    """The text on one line, with line breaks, control characters and undecodable bytes escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names, each on one line, and dots for the rest."""
    return ", ".join(map(printable, names[:most])) + ", ..." * (len(names) > most)


def shortened(text: str) -> str:
    """A message of at most LONGEST_MESSAGE characters, with dots in its middle where it is longer.

    What files hold is repeated in messages, and may be of any length.
    """
    half = LONGEST_MESSAGE // 2
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: half - 3]} ... {text[3 - half :]}"


def fitted(line: str, stream: TextIO, indent: int = 0) -> str:
    """A line broken at word ends where `stream` is a terminal; elsewhere it stays one line.

    Lines after the first begin with `indent` spaces where at least half of the width is left. A
    command stays whole, to be copied, and so does a word that is wider than the terminal.
    """
    if not stream.isatty():
        return line
    width = os.get_terminal_size(stream.fileno()).columns or 80
    lines = textwrap.wrap(
        COMMAND.sub(lambda command: command[0].replace(" ", NO_BREAK), line),
        width,
        subsequent_indent=" " * (indent if 2 * indent <= width else 0),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace(NO_BREAK, " ")


def composed(name: str) -> str:
    """A class's name in Unicode's form NFC: macOS writes e and an accent for the same letter."""
    return normalize("NFC", name)


def utf8(text: str) -> str:
    r"""Text that any file can hold: bytes that are not UTF-8 become escapes such as \udc80."""
    return text.encode(errors="backslashreplace").decode()


def defused(text: str) -> str:
    """A CSV field that no spreadsheet takes for a formula.

    An apostrophe goes before a leading = + - @, tab or carriage return.
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def accuracies(top1: float, top5: float, num_classes: int) -> str:
    """Fractions in words for people, such as top-1 69.20%, top-5 98.13%; see `tells_top5`."""
    words = f"top-1 {top1:.2%}"
    return f"{words}, top-5 {top5:.2%}" if tells_top5(num_classes) else words


def tells_top5(num_classes: int) -> bool:
    """Whether people are shown the top-5 accuracy of so many classes; programs always are."""
    return num_classes >= FEWEST_CLASSES_FOR_TOP5


def seconds_in(duration: str) -> int:
    """Seconds in a duration such as 45s, 30m, 3h50m or 1d2h; ValueError when it is not one."""
    parts = re.findall(r"([0-9]{1,9})([dhms])", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError("must be a duration such as 45s, 30m, 3h50m or 1d2h")
    return sum(int(number) * SECONDS_IN[unit] for number, unit in parts)


def duration(seconds: float) -> str:
    """Seconds in words for people: 45 s, 31 min 20 s, 2 h 05 min, 3 d 04 h."""
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24:02} h"
    if hours:
        return f"{hours} h {minutes % 60:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"
