"""The page of the paper's claims is rendered from the studies and their results."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from inceptcli.recipe.file import study_names
from tests.cli.conftest import inceptcli
from tests.studies import paper_page

RESULTS = paper_page.RESULTS


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def claims() -> list[dict[str, object]]:
    return [*paper_page.study_claims(), *paper_page.other_claims(paper_page.values())]


def test_the_page_is_rendered_from_all_claims_and_results() -> None:
    remedy = "run `python -m tests.studies.paper_page`"
    assert paper_page.PAGE.read_text() == paper_page.render(), remedy
    stored = {path.stem for path in RESULTS.glob("*.json")}
    assert stored <= set(study_names())


def test_each_claim_has_a_command_and_a_verdict_or_a_reason(
    claims: list[dict[str, object]],
) -> None:
    page = flat(paper_page.PAGE.read_text())
    assert len(claims) >= 20
    for claim in claims:
        assert f"**{claim['says']}**" in page
        assert f"| {claim['says']} | {claim['verdict']} |" in page
        assert claim["commands"]
        texts = [claim.get(key) for key in ("because", "answer", "design")]
        assert len([text for text in texts if text]) == 1, claim["says"]
        assert "because" not in claim or claim["verdict"] == "not tested here"


def test_commands_that_answer_at_once_run_as_printed(claims: list[dict[str, object]]) -> None:
    commands = {line for claim in claims for line in claim["commands"]}  # type: ignore[attr-defined]
    ran = 0
    for command in sorted(commands):
        _, name, *arguments = shlex.split(command)
        if name in ("summarize", "compare"):
            done = inceptcli(name, *arguments)
            assert done.exit_code == 0, command
            ran += 1
    assert ran >= 4


def test_a_result_needs_only_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = {
        "arm": "irv1", "against": "iv3", "expected": "lower", "measure": "mean-error",
        "margin": None, "difference": 0.05, "low": 0.01, "high": 0.09, "p": 0.01,
        "adjusted_p": 0.01, "answer": "contradicted",
    }  # fmt: skip
    result = {
        "command": "inceptcli study residual-speed --seeds 4", "date": "2031-02-03", "cores": 8,
        "cpu_seconds": 600.0, "data": {"classes": 5, "training": 1234, "validation": 100},
        "seeds": [0, 1, 2, 3], "verdicts": [verdict], "trends": [], "threshold": None,
        "measure": "mean-error", "arms": {"iv3": [0.4, 0.6], "irv1": [0.1234]}, "runs": [{}] * 8,
        "search": None, "evaluations": [],
    }  # fmt: skip
    monkeypatch.setattr(paper_page, "RESULTS", tmp_path)
    assert "inceptcli study residual-speed --data flowers" in paper_page.render()
    assert f"| {paper_page.NOT_RUN} |" in paper_page.render()
    (tmp_path / "residual-speed.json").write_text(json.dumps(result))
    page = flat(paper_page.render())
    assert "Mean mean-error of the seeds: `iv3` 50.0 %, `irv1` 12.3 %." in page
    for text in (
        "inceptcli study residual-speed --seeds 4 ```",
        "Contradicted. `iv3`, `irv1`, AdamW, 1 epoch, learning rate 0.001, 4 seeds, 8 runs, 75 "
        "pixels, 1,234 training images. At 75 pixels, Inception-ResNet-v1 has 10 % more "
        "multiply-adds than Inception-v3. 2031-02-03, 10 CPU minutes on 8 cores. - mean-error of "
        "irv1 lower than iv3: "
        "contradicted (+5.0 points, 95 % interval +1.0 to +9.0, adjusted p 0.01)",
    ):
        assert text in page


@pytest.mark.parametrize(
    ("answers", "scope", "said"),
    [
        (["supported"] * 2, None, "supported"),
        (["supported"], "early in training", "supported, early in training"),
        (
            ["undecided", "supported", "undecided"],
            "after six epochs",
            "mixed, after six epochs: 2 undecided, 1 supported",
        ),
        ([], None, "see the threshold"),
    ],
)
def test_a_verdict_says_what_it_is_limited_to(
    answers: list[str], scope: str | None, said: str
) -> None:
    result = {"verdicts": [{"answer": answer} for answer in answers], "trends": []}
    assert paper_page.verdict_of(result, scope) == said


def test_the_maps_of_a_grid_have_the_mean_of_the_seeds_in_each_cell() -> None:
    axes = [{"label": "Width", "names": ["0.5", "1.0"]}, {"label": "Rate", "names": ["0.1"]}]
    cells = [{"arm": "narrow", "at": [0, 0]}, {"arm": "wide", "at": [1, 0]}]
    figures = {"narrow": (0.1, 0.2, 0.4), "wide": (0.9, 1.0, 0.7), "another": (0.0, 0.06, 0.5)}
    runs = [
        {"arm": arm, "dead_units": dead, "last_error": error, "failure": ""}
        for arm, (*seeds, error) in figures.items()
        for dead in seeds
    ]
    runs[-1] |= {"failure": "diverged", "dead_units": 0.0, "last_error": 0.0}
    result = {"grid": {"axes": axes, "cells": cells}, "arms": figures, "runs": runs}
    head = ["Rate \\ Width", "0.5", "1.0"]
    errors = ("last-error", [head, ["0.1", "40", "70"]], "`another` 75 %")
    assert paper_page.maps_of({**result, "measure": "last-error"}) == [errors]
    assert paper_page.maps_of({**result, "measure": "dead-units"}) == [
        ("dead-units", [head, ["0.1", "15", "95"]], "`another` 50 %"), errors
    ]  # fmt: skip
    assert paper_page.maps_of({**result, "grid": None}) == []
