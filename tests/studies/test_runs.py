from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from inceptcli.errors import UserError
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


def test_a_run_that_failed_in_its_first_epoch_has_no_errors(tmp_path: Path) -> None:
    run = StudyRun("arm", 0, tmp_path, Recipe())
    report = {"cause": "the loss is not finite", "step": 3}
    (tmp_path / "diagnosis.json").write_text(json.dumps(report))
    assert read_result(run) == StudyResult(run, (), 1.0, "the loss is not finite at step 3")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("metrics.csv", METRICS.replace("0.75", ""), "unreadable (ValueError: could not convert"),
        ("metrics.csv", METRICS.replace("0.75", "nan"), "unreadable (ValueError: nan is not"),
        ("metrics.csv", METRICS.replace("val_top1", "top1"), "unreadable (KeyError: 'val_top1')"),
        ("metrics.csv", "", "its metrics.csv has no validation"),
        ("diagnosis.json", "{", "unreadable (JSONDecodeError"),
        ("diagnosis.json", "[]", "unreadable (TypeError"),
    ],
)
def test_an_unreadable_result_is_an_error(tmp_path: Path, file: str, text: str, said: str) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS)
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}: {said}")):
        read_result(StudyRun("arm", 0, tmp_path, Recipe()))
