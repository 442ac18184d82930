"""Safe display of untrusted names (no markup, control codes or formulas), and durations."""

import csv
import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import TextIO
from unicodedata import normalize

LONGEST_MESSAGE = 1500
"""Maximum length of a message in characters."""

FEWEST_CLASSES_FOR_TOP5 = 6
"""With fewer classes, top-5 accuracy is trivially high."""

COMMAND = re.compile(r"`[^`]+`|(?<=: )(?:inceptcli|hf) .+$")
"""A command in a message: between backticks, or after a colon up to the end."""

NO_BREAK = "\ue000"
"""A private-use character that replaces spaces in text that must not be wrapped."""

SECONDS_IN = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def printable(text: object) -> str:
    """Return text, or a path, on one line; escape control characters and undecodable bytes."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in shown
    )


def listed(names: Sequence[str], most: int = 3) -> str:
    """Join the first names, each on one line, and add dots for the rest."""
    return ", ".join(map(printable, names[:most])) + ", ..." * (len(names) > most)


def shortened(text: str) -> str:
    """Shorten a message to LONGEST_MESSAGE characters, with dots in its middle.

    Messages quote the contents of files, which may be of any length.
    """
    half = LONGEST_MESSAGE // 2
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: half - 3]} ... {text[3 - half :]}"


def fitted(line: str, stream: TextIO, indent: int = 0) -> str:
    """Wrap a line at words if `stream` is a terminal; otherwise return it unchanged.

    Continuation lines are indented by `indent` spaces if that leaves half of the width. Commands,
    which users copy, and words wider than the terminal are not broken.
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


def number_of(count: int, noun: str) -> str:
    """Format a count and a noun: 1 image, 1,200 images."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def composed(name: str) -> str:
    """Normalize a class name to Unicode form NFC: macOS decomposes accented letters."""
    return normalize("NFC", name)


def utf8(text: str) -> str:
    r"""Return text that can be encoded as UTF-8; other bytes become escapes such as \udc80."""
    return text.encode(errors="backslashreplace").decode()


def defused(text: str) -> str:
    """Return a CSV field that spreadsheets do not interpret as a formula.

    Text with a leading = + - @, tab or carriage return is prefixed with an apostrophe.
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def joined_names(names: Iterable[str]) -> str:
    """Join names by semicolons for a CSV field.

    A name with a semicolon, quote or line break is quoted as in CSV.
    """
    line = StringIO()
    csv.writer(line, delimiter=";", lineterminator="\r\n").writerow(names)
    return line.getvalue()[:-2]


def accuracies(top1: float, top5: float, num_classes: int) -> str:
    """Format accuracies (fractions) as top-1 69.20%, top-5 98.13%; see `tells_top5`."""
    words = f"top-1 {top1:.2%}"
    return f"{words}, top-5 {top5:.2%}" if tells_top5(num_classes) else words


def validation_figures(metrics: Mapping[str, float], num_classes: int) -> str:
    """Format the measures of a validation: accuracies, or mAP and F1 of multi-label data."""
    if "val_average_precision" not in metrics:
        return accuracies(metrics["val_top1"], metrics["val_top5"], num_classes)
    figures = {"mAP": "average_precision", "micro F1": "micro_f1", "macro F1": "macro_f1"}
    return ", ".join(f"{words} {metrics[f'val_{name}']:.2%}" for words, name in figures.items())


def tells_top5(num_classes: int) -> bool:
    """Return whether text output shows top-5 accuracy; JSON and CSV output always has it."""
    return num_classes >= FEWEST_CLASSES_FOR_TOP5


def seconds_in(duration: str) -> int:
    """Parse a duration such as 45s, 30m, 3h50m or 1d2h to seconds; raise ValueError if invalid."""
    parts = re.findall(r"([0-9]{1,9})([dhms])", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError("must be a duration such as 45s, 30m, 3h50m or 1d2h")
    return sum(int(number) * SECONDS_IN[unit] for number, unit in parts)


def duration(seconds: float) -> str:
    """Format seconds: 45 s, 31 min 20 s, 2 h 05 min, 3 d 04 h."""
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24:02} h"
    if hours:
        return f"{hours} h {minutes % 60:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"
