"""`inceptcli`; parts get a file every fifth of a second, and a row after INCEPTCLI_TEST_PAUSE."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator

from inceptcli.__main__ import main
from inceptcli.prediction.predict import Answer
from inceptcli.prediction.shares import part
from inceptcli.prediction.shares.part import Part

PAUSE = float(os.environ.get("INCEPTCLI_TEST_PAUSE", "0"))
"""Seconds before each row."""


def slowly(answers: Iterable[Answer]) -> Iterator[Answer]:
    for answer in answers:
        time.sleep(PAUSE)
        yield answer


if __name__ == "__main__":
    part.SECONDS = 0.2
    write = Part.write
    Part.write = lambda self, answers: write(self, slowly(answers))  # type: ignore[method-assign]
    main()
