from __future__ import annotations

import pytest

from inceptcli.progress.task import Task
from inceptcli.weights.fetched.hub import reporting_to


def test_a_download_is_told_in_megabytes_and_prints_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = Task()
    bar = reporting_to(task)
    with bar(total=4_000_000, unit="B", mininterval=0, miniters=1) as progress:
        progress.update(1_500_000)
        assert (task.done, task.total) == (1.5, 4.0)
        with bar(total=9_000_000, mininterval=0, miniters=1) as second:
            second.update(9_000_000)
        assert (task.done, task.total) == (1.5, 4.0)
    assert capsys.readouterr() == ("", "")
