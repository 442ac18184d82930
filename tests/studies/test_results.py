"""The JSON of a study, from the files that runs leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inceptcli.errors import UsageError
from inceptcli.networks.registry import network_options
from inceptcli.networks.summary import summarize
from inceptcli.recipe.study import check_study
from inceptcli.studies.results import check_networks, judge
from inceptcli.studies.runs import RunRecord, read_result, runs_of
from tests.studies.test_study import VALUES
from tests.studies.trained import leave_files

GRID = [
    {"key": "network.batch_norm_eps", "label": "Eps", "values": [0.5, 0.1, 0.2]},
    {
        "key": "network.residual_scales",
        "label": "Scale",
        "values": [[1.0, 1.0, 1.0], [0.1, 0.1, 0.2], [0.1, 0.1, 0.1]],
    },
]


def judged(values: dict[str, Any], folder: Path, figures: dict[str, list[float]]) -> dict[str, Any]:
    """Judge runs whose last errors, or dead units, are `figures` by arm."""
    study = check_study(values, "study")
    results = []
    for run in runs_of(study, folder, None):
        figure = figures[run.arm][study.seeds.index(run.seed)]
        leave_files(run.folder, [0.5, figure], figure)
        RunRecord(1.5, True).write(run.folder)
        results.append(read_result(run))
    found: dict[str, Any] = json.loads(json.dumps(judge(study, results)))
    return found


def test_each_comparison_has_its_measure_and_one_correction(tmp_path: Path) -> None:
    comparisons = [
        {"arm": "two", "against": "one", "expected": "lower"},
        {"arm": "two", "against": "one", "expected": "not-higher", "margin": 0.05,
         "measure": "mean-error"},
    ]  # fmt: skip
    trends = [{"over": "parameters", "expected": "lower", "measure": "last-error"}]
    values = {**VALUES, "measure": "last-error", "comparisons": comparisons, "trends": trends}
    found = judged(values, tmp_path, {"one": [0.4, 0.5], "two": [0.3, 0.38]})
    (first, second), (trend,) = found["verdicts"], found["trends"]
    assert first["difference"] == pytest.approx(-0.11)
    assert second["difference"] == pytest.approx(-0.055)
    assert (first["measure"], second["measure"]) == ("last-error", "mean-error")
    # t of one degree of freedom: 11 and 21 for the claims, 11 again for the trend
    assert [first["p"], second["p"], trend["p"]] == pytest.approx(
        [0.0577158, 0.0302921, 0.0577158], abs=1e-6
    )
    assert first["adjusted_p"] == trend["adjusted_p"] == pytest.approx(0.1154316, abs=1e-6)
    assert second["adjusted_p"] == pytest.approx(0.0908763, abs=1e-6)
    assert [each["answer"] for each in (first, second, trend)] == ["undecided"] * 3
    assert trend["arms"] == ["one", "two"]
    assert [slope < 0 for slope in trend["slopes"]] == [True, True]
    assert trend["slopes"][1] == pytest.approx(1.2 * trend["slopes"][0])
    assert found["cpu_seconds"] == 6.0
    assert found["data"] == {"classes": 10, "training": 22, "validation": 10}
    assert found["image_size"] == [75, 75]
    network = summarize(network_options("iv4", num_classes=10), (75, 75))
    run = found["runs"][1]
    assert (run["arm"], run["seed"], run["filters"]) == ("two", 0, 1536)
    assert (run["parameters"], run["multiply_adds"]) == (network.parameters, network.multiply_adds)
    assert (run["errors"], run["last_error"]) == ([0.5, pytest.approx(0.3)], pytest.approx(0.3))
    assert (run["mean_error"], run["best_error"]) == pytest.approx((0.4, 0.3))
    assert found["arms"]["two"] == pytest.approx([0.3, 0.38])


def test_a_grid_makes_arms_and_has_a_threshold(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        **{key: VALUES[key] for key in ("question", "seeds", "recipe")},
        "measure": "dead-units",
        "grid": GRID,
        "threshold": {"along": "network.batch_norm_eps", "above": 0.5},
    }
    dead = {
        "eps-0.1-scale-1.0": [0.2, 0.3],
        "eps-0.2-scale-1.0": [0.4, 0.7],  # above in the mean, by one seed
        "eps-0.5-scale-1.0": [1.0, 1.0],
        "eps-0.1-scale-0.1-0.2": [0.6, 0.6],
        "eps-0.2-scale-0.1-0.2": [0.5, 0.5],
        "eps-0.5-scale-0.1-0.2": [0.9, 0.9],
        "eps-0.1-scale-0.1": [0.0, 0.0],
        "eps-0.2-scale-0.1": [0.5, 0.5],
        "eps-0.5-scale-0.1": [0.5, 0.5],
    }
    found = judged(values, tmp_path, dead)
    assert found["arms"] == dead
    axes, cells = found["grid"]["axes"], found["grid"]["cells"]
    assert axes[1]["names"] == ["1.0", "0.1-0.2", "0.1"]
    assert cells[5] == {"arm": "eps-0.1-scale-0.1", "at": [1, 2]}
    assert found["verdicts"] == found["trends"] == []
    assert [
        (each["at"]["network.residual_scales"][2], each["value"], each["larger_too"])
        for each in found["threshold"]["found"]
    ] == [(1.0, 0.2, True), (0.2, 0.1, False), (0.1, None, None)]
    assert found["threshold"]["found"][0]["arm"] == "eps-0.2-scale-1.0"
    recipe = runs_of(check_study(values, "study"), tmp_path, None)[4].recipe
    assert recipe.network.residual_scales == [0.1, 0.1, 0.2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": {"one": {}, "two": {"network": "iv9"}}}, "arm two: network.name: unknown"),
        (
            {"arms": {"one": {}, "two": {"network": {"name": "iv3", "repeats": [1, 1, 1]}}}},
            "arm two: network.name: iv3 has fixed modules, so repeats cannot be set",
        ),
        ({"arms": {"one": {}, "two": {"network": {"init": "nowhere"}}}}, "nowhere"),
        (
            {
                "arms": {"one": {}, "two": {"optimizer": {"learning_rate": 0.5}}},
                "trends": [{"over": "parameters", "expected": "lower"}],
            },
            "trends: all arms have the same number of parameters",
        ),
    ],
)
def test_impossible_networks_are_refused_before_training(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        check_networks(check_study({**VALUES, **changes}, "study"), "study")
