"""Standard streams that outlive their readers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WRITES = """
import os, sys
from inceptcli.standard_streams import secure_standard_streams, tell_loss
secure_standard_streams()
{reports_first}
for number in range(3):
    print(f"line {{number}}", file=sys.stderr)
os.write(2, b"a library's own line")
{reports_last}
print("done")
"""
REPORT = "tell_loss(lambda reason: print('lost:', reason))"


def run(code: str, stderr: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=stderr, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("first", [True, False])
def test_a_reader_that_leaves_is_told_once_and_ends_nothing(first: bool) -> None:
    code = WRITES.format(
        reports_first=REPORT if first else "", reports_last="" if first else REPORT
    )
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert run(code, writing) == "lost: Broken pipe\ndone\n"
    finally:
        os.close(writing)


def test_what_is_read_is_not_lost(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("streams") / "stderr"
    with file.open("w") as stream:
        code = WRITES.format(reports_first=REPORT, reports_last="")
        assert run(code, stream.fileno()) == "done\n"
    assert file.read_text() == "line 0\nline 1\nline 2\na library's own line"


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-", "0<&- 1>&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_stream(closed: str) -> None:
    code = (
        "from inceptcli.standard_streams import secure_standard_streams;"
        "secure_standard_streams(); import sys;"
        "print('lost', file=sys.stderr); print('seen'); sys.stdin.read();"
        "sys.exit(0 if open('/dev/null').fileno() > 2 else 3)"
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout == ("" if "1>&-" in closed else "seen\n")
