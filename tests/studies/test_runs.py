from __future__ import annotations

from pathlib import Path

import pytest

from inceptcli.recipe.study import StudyMeasure
from inceptcli.studies.runs import StudyResult, StudyRun, read_result

METRICS = """epoch,step,val_top1,dead_units
1,10,0.25,0.5
2,20,0.75,0.125
"""


@pytest.mark.parametrize(
    ("measure", "figure"), [("mean-error", 0.5), ("last-error", 0.25), ("dead-units", 0.125)]
)
def test_a_run_is_measured_by_its_metrics(
    measure: StudyMeasure, figure: float, tmp_path: Path
) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS)
    result = read_result(StudyRun("arm", 0, tmp_path))
    assert result.figure(measure) == figure
    failed = result._replace(failure="the loss is not finite at step 3")
    assert failed.figure(measure) == 1.0


def test_a_run_without_an_epoch_has_no_errors(tmp_path: Path) -> None:
    assert read_result(StudyRun("arm", 0, tmp_path)) == StudyResult(
        StudyRun("arm", 0, tmp_path), (), 1.0
    )
