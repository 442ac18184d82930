from __future__ import annotations

import json
from pathlib import Path

import pytest

from inceptcli.recipe.schema import Recipe
from inceptcli.recipe.study import StudyMeasure
from inceptcli.studies.runs import StudyResult, StudyRun, read_result

METRICS = """epoch,step,val_top1,dead_units
1,10,0.25,0.5
2,20,0.75,0.125
3,30,0.5,0.25
"""


@pytest.mark.parametrize(
    ("measure", "figure"),
    [("mean-error", 0.5), ("last-error", 0.5), ("best-error", 0.25), ("dead-units", 0.25)],
)
def test_a_run_is_measured_by_its_metrics(
    measure: StudyMeasure, figure: float, tmp_path: Path
) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS)
    run = StudyRun("arm", 0, tmp_path, Recipe())
    assert read_result(run).figure(measure) == figure
    report = {"cause": "the loss is not finite", "step": 3}
    (tmp_path / "diagnosis.json").write_text(json.dumps(report))
    failed = read_result(run)
    assert failed.failure == "the loss is not finite at step 3"
    assert failed.figure(measure) == 1.0


def test_a_run_without_an_epoch_has_no_errors(tmp_path: Path) -> None:
    run = StudyRun("arm", 0, tmp_path, Recipe())
    assert read_result(run) == StudyResult(run, (), 1.0)
