"""Write the guide's page of the paper's claims from the studies and their results.

    python -m tests.studies.paper_page

Renders paper.md.jinja into inceptcli/guide/. The claims are those of the studies (`claim` in
recipes/studies/*.yaml), with the verdicts in results/NAME.json, and those of claims.yaml. To add a
result, run the study with `--format json > tests/studies/results/NAME.json`.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import yaml

from inceptcli.cli.study import verdicts_in_words
from inceptcli.guide.pages import FOLDER
from inceptcli.networks.registry import network_options
from inceptcli.networks.summary import Summary, summarize
from inceptcli.plots.curve import Curve
from inceptcli.plots.paper_curves import NETWORKS, paper_curves
from inceptcli.plots.reaching import first_reaching, mean_before
from inceptcli.recipe.file import find_study, read_recipe, study_names
from inceptcli.recipe.schema import Recipe
from inceptcli.recipe.study import Study, check_study, recipe_of, tried
from tests.benchmarks import measurements

PAGE = FOLDER / "paper.md"
TEMPLATE = Path(__file__).with_name("paper.md.jinja")
RESULTS = Path(__file__).with_name("results")
CLAIMS = Path(__file__).with_name("claims.yaml")
WIDTH = 120
NEAR = 0.1
"""Costs that differ by up to this share are about equal."""

FINAL_EPOCHS = 10
NOT_RUN = "not yet run"
OPTIMIZERS = {"adamw": "AdamW", "rmsprop_tf": "RMSProp", "sgd": "momentum SGD"}


def result_of(name: str) -> dict[str, Any] | None:
    """The stored result of a study."""
    path = RESULTS / f"{name}.json"
    result: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return result


def study_claims() -> Iterator[dict[str, Any]]:
    """The claims of all studies, with command, verdicts and cost."""
    for name in study_names():
        text = find_study(name).read_text()
        study = check_study(read_recipe(find_study(name)), name)
        command = re.search(rf"^# +(inceptcli study {name} .*)$", text, re.MULTILINE)
        assert study.claim, name
        assert command, name
        result = result_of(name)
        yield {
            "section": study.claim.section,
            "says": " ".join(study.claim.says.split()),
            "note": study.claim.note,
            "commands": [command[1] if result is None else result["command"]],
            "verdict": NOT_RUN if result is None else verdict_of(result, study.claim.scope),
            "lines": [] if result is None else verdicts_in_words(result),
            "design": _design(study, result),
            "result": result,
        }


def verdict_of(result: dict[str, Any], scope: str | None) -> str:
    """The answers of a study in short; a study with a threshold alone has the values found."""
    answers = Counter(each["answer"] for each in (*result["verdicts"], *result["trends"]))
    limit = f", {scope}" if scope else ""
    if len(answers) < 2:
        return next(iter(answers), "see the threshold") + limit
    parts = ", ".join(f"{number} {answer}" for answer, number in answers.items())
    return f"mixed{limit}: {parts}"


class Map(NamedTuple):
    """A grid's map of a measure, with its head, and the arms beside it; means, in percent."""

    measure: str
    rows: list[list[str]]
    others: str


def maps_of(result: dict[str, Any]) -> list[Map]:
    """The maps of a grid: of the study's measure and, beside dead units, of the errors."""
    if not (grid := result.get("grid")) or len(grid["axes"]) != 2:
        return []
    across, down = grid["axes"]
    arm_at = {tuple(cell["at"]): cell["arm"] for cell in grid["cells"]}
    columns = range(len(across["names"]))
    maps = []
    for measure in dict.fromkeys([result["measure"], "last-error"]):
        mean = partial(_mean, result, measure)
        rows = [[f"{down['label']} \\ {across['label']}", *across["names"]]]
        for y, name in enumerate(down["names"]):
            rows.append([name, *(f"{mean(arm_at[x, y]):.0f}" for x in columns)])
        others = (arm for arm in result["arms"] if arm not in arm_at.values())
        maps.append(Map(measure, rows, ", ".join(f"`{arm}` {mean(arm):.0f} %" for arm in others)))
    return maps


def means_of(result: dict[str, Any]) -> str:
    """The mean of the measure over the seeds for each arm of a study without a map, in percent."""
    if not result or result.get("grid"):
        return ""
    return ", ".join(f"`{arm}` {100 * fmean(each):.1f} %" for arm, each in result["arms"].items())


def _mean(result: dict[str, Any], measure: str, arm: str) -> float:
    """The mean over an arm's seeds in percent; a run that failed has 100 %."""
    field = measure.replace("-", "_")
    runs = [run for run in result["runs"] if run["arm"] == arm]
    return fmean(100.0 if run["failure"] else 100 * run[field] for run in runs)


def _design(study: Study, result: dict[str, Any] | None) -> str:
    """How many passes, seeds and pixels, and the data where it is known."""
    search, arms = study.search, study.all_arms()
    recipes = [recipe_of(study, arm, study.seeds[0], None, value=tried(study)[0]) for arm in arms]
    runs = len(arms) * (
        len(study.seeds) + (len(search.values) * len(search.seeds) if search else 0)
    )
    if result:
        runs = len(result["runs"]) + len(result["search"]["tries"] if result["search"] else [])
    parts = [
        *_networks(recipes),
        " or ".join(dict.fromkeys(OPTIMIZERS[recipe.optimizer.name] for recipe in recipes)),
        _range(recipe.trainer.epochs for recipe in recipes) + " epochs",
        f"{search.key} searched for each arm{_found(result)}" if search
        else "learning rate " + _range(recipe.optimizer.learning_rate for recipe in recipes),
        f"{len(result['seeds'] if result else study.seeds)} seeds",
        f"{runs} runs",
        _range(recipe.data.height_and_width[0] for recipe in recipes) + " pixels",
    ]  # fmt: skip
    if result and result["data"]:
        parts.append(f"{result['data']['training']:,} training images")
    if result and result["evaluations"]:
        parts.append(f"{result['evaluations'][0]['images']:,} evaluated images")
    return re.sub(r"\b1 epochs", "1 epoch", ", ".join(parts))


def _networks(recipes: Sequence[Recipe]) -> Iterator[str]:
    """The networks, with their numbers of modules and widths where they are not the paper's."""
    networks = [(each.network.name, tuple(each.network.repeats or ())) for each in recipes]
    for name, repeats in dict.fromkeys(networks):
        modules = f" with {repeats[0]}, {repeats[1]} and {repeats[2]} modules" if repeats else ""
        yield f"`{name}`{modules}"
    widths = _range(recipe.network.width or 1.0 for recipe in recipes)
    if widths != "1":
        yield f"width {widths}"


def _found(result: dict[str, Any] | None) -> str:
    """The best values of a search, once it has run."""
    best = result["search"]["best"] if result and result["search"] else []
    values = ", ".join(f"`{each['arm']}` {each['value']:g}" for each in best)
    return f" ({values})" if values else ""


def _range(numbers: Iterable[float]) -> str:
    """The number, or the smallest and the largest."""
    found = sorted(set(numbers))
    return f"{found[0]:g}" if len(found) == 1 else f"{found[0]:g} to {found[-1]:g}"


def other_claims(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The claims that no study tests, with their texts rendered."""
    template = measurements.environment().from_string
    for claim in yaml.safe_load(CLAIMS.read_text()):
        texts = {
            key: " ".join(template(text).render(values).split())
            for key, text in claim.items()
            if isinstance(text, str)
        }
        yield {"verdict": "not tested here", "result": None, **claim, **texts}


def networks() -> dict[str, Summary]:
    """The networks whose cost the paper compares, at 299 pixels and 1000 classes."""
    options = {name: network_options(name) for name in NETWORKS}
    options["irv2-10-20-10"] = replace(options["irv2"], repeats=(10, 20, 10))
    return {name: summarize(each, (299, 299)) for name, each in options.items()}


def values() -> dict[str, Any]:
    """What the texts of claims.yaml use."""
    benchmarks = measurements.values()
    summaries = networks()
    cost = {name: each.multiply_adds for name, each in summaries.items()}
    growth = benchmarks["growth"]["networks"]
    seconds = {name: row["training_cpu_seconds_each"] for name, row in growth.items()}
    epochs = {"irv1": 200, "irv2": 160, "iv4": 160}
    return {
        "most_dead": _most_dead(),
        "benchmarks": benchmarks,
        "cost": cost,
        "convolutions": {
            name: sum(
                bool(re.search(r"\dx\d (conv|linear)", layer.kind))
                for stage in each.stages
                for layer in stage.layers
            )
            for name, each in summaries.items()
        },
        "seconds": seconds,
        "prediction_seconds": {
            name: row["prediction_cpu_seconds_each"] for name, row in growth.items()
        },
        "core_years": {
            name: measurements.IMAGENET * epochs[name] * each / measurements.YEAR
            for name, each in seconds.items()
        },
        "is_true": lambda holds: "supported" if holds else "contradicted",
        "near": NEAR,
        "is_near": lambda one, other: (
            "supported" if abs(one / other - 1) <= NEAR else "contradicted"
        ),
        "cost_in_words": lambda one, other: _cost_in_words(cost[one], cost[other]),
        "reached": _reached,
        "final": _final,
        "finals": lambda one, other, metric: (
            f"{_final(one, metric):.2f} % instead of {_final(other, metric):.2f} % "
            f"{'top-1' if metric == 'top1' else 'top-5'}."
        ),
        "larger_end_lower": lambda metric: (
            max(_final("iv4", metric), _final("irv2", metric))
            < min(_final("iv3", metric), _final("irv1", metric))
        ),
    }


def _most_dead() -> float:
    """The largest share of dead units of a run in the studies of dying; 0 before one has run."""
    results = filter(None, map(result_of, study_names()))
    dying = [result for result in results if result["measure"] == "dead-units"]
    shares = (float(run["dead_units"]) for result in dying for run in result["runs"])
    return max(shares, default=0.0)


def _cost_in_words(one: int, other: int) -> str:
    change = one / other - 1
    return (
        f"{one / 1e9:.2f} G multiply-adds instead of {other / 1e9:.2f} G, {abs(change):.0%} "
        f"{'more' if change > 0 else 'less'}."
    ).replace("%", " %")


def _curve(network: str, metric: str) -> Curve:
    return paper_curves(metric)[NETWORKS.index(network)]


def _reached(network: str, error: float) -> int:
    """The first epoch with at most this top-1 error in the paper's curve."""
    found = first_reaching(_curve(network, "top1"), error, 2.0)
    assert found is not None
    return int(found.epoch)


def _final(network: str, metric: str) -> float:
    """The mean of the last ten epochs of the paper's curve, in percent."""
    curve = _curve(network, metric)
    return mean_before(curve, curve.epochs[-1], FINAL_EPOCHS)


def render() -> str:
    """The page."""
    given = values()
    claims = [*study_claims(), *other_claims(given)]
    ordered = sorted(claims, key=lambda claim: claim["section"].replace("abstract", "0"))
    sections: dict[str, list[dict[str, Any]]] = {}
    for claim in ordered:
        sections.setdefault(claim["section"], []).append(claim)
    shown = {
        "sections": sections,
        "counts": Counter(
            re.split("[:,]", claim["verdict"])[0] for claim in sorted(ordered, key=_place)
        ),
        "title": lambda section: "Abstract" if section == "abstract" else f"Section {section}",
        "final_epochs": FINAL_EPOCHS,
        "maps_of": maps_of,
        "not_run": NOT_RUN,
        "means_of": means_of,
    }
    text = measurements.render(TEMPLATE.read_text(), {**given, **shown})
    return "".join(f"{line}\n" for line in _wrapped(text.rstrip().splitlines()))


def _place(claim: dict[str, Any]) -> int:
    """The place of a verdict in the summary: decided first, not tested last."""
    order = ("supported", "contradicted", "mixed", "undecided", "see", NOT_RUN)
    return next(
        (n for n, word in enumerate(order) if claim["verdict"].startswith(word)), len(order)
    )


def _wrapped(lines: list[str]) -> Iterator[str]:
    """Wrap prose and lists; leave code blocks, tables and headings."""
    in_code = False
    for line in lines:
        in_code ^= line.startswith("```")
        if in_code or line.startswith(("```", "|", "#")) or len(line) <= WIDTH:
            yield line
        else:
            indent = "  " * line.startswith("- ")
            yield from textwrap.wrap(
                line, WIDTH, subsequent_indent=indent, break_long_words=False,
                break_on_hyphens=False,
            )  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(render())
