"""`inceptcli study`: test a claim with several training runs."""

from __future__ import annotations

import json
import logging
import os
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option, echo

from inceptcli.cli.completion import complete_study
from inceptcli.cli.outputs import OutputFiles, print_fitted, say_written
from inceptcli.errors import UsageError, UserError
from inceptcli.files.remote.address import redacted, scheme_of
from inceptcli.progress.display import hide, hush
from inceptcli.text import printable

if TYPE_CHECKING:
    from inceptcli.recipe.study import Study
    from inceptcli.studies.evaluating import Evaluated
    from inceptcli.studies.runs import StudyResult, StudyRun
    from inceptcli.studies.search import BestValue

logger = logging.getLogger(__name__)

CORRECTED = (
    "Verdicts use p-values of at most 0.05, adjusted for all tests of the study (Holm's method). "
    "The 95 % intervals are not adjusted."
)

EPILOG = """Examples:

\b
  inceptcli study residual-speed --data flowers --output runs/residual-speed --jobs 2
  inceptcli study warm-up --data flowers --output runs/warm-up --format json
  inceptcli study my-study.yaml --data flowers --output runs/my-study
"""


def study(
    name: Annotated[
        str,
        Argument(
            metavar="NAME|FILE",
            autocompletion=complete_study,
            help="Bundled study (`inceptcli list studies`) or a study file.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        Option(
            metavar="FOLDER",
            help="Folder for the run directories; existing runs are continued.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        Option(
            help="Dataset, as for `train`. Default: the study's, else generated shapes.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        Option(
            min=2,
            max=100,
            help="Runs per arm: the study's seeds, then new ones. Default: the study's.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int, Option(min=1, help="Number of parallel runs; they share the CPU cores evenly.")
    ] = 1,
    output_format: Annotated[
        Literal["table", "json"], Option("--format", help="Output format.")
    ] = "table",
    quiet: Annotated[
        bool, Option("--quiet", callback=hush, help="Show only the result. Default: off.")
    ] = False,
) -> None:
    """Test a claim with several training runs.

    Each arm is trained once per seed. The verdict (supported, contradicted or undecided) is based
    on the mean paired difference over the seeds in validation error or dead units, with a 95 %
    interval and a p-value corrected for the number of tests (Holm). When stopped by a signal, the
    runs save, the exit code is 75, and the same command continues. Runs that have ended are not
    started again.

    OUTPUT/study.png is the figure: results by arm and seed, the map of a grid, or the trend.

    JSON has the claim, the arms' values by seed, verdicts, trends, the map of a grid, the search,
    the runs, the command and its processor time (`inceptcli guide file-formats`). Study files:
    `inceptcli guide studies`.
    """
    from inceptcli.processes.cores import usable_cores
    from inceptcli.recipe.file import find_study, read_recipe
    from inceptcli.recipe.study import check_study

    file = find_study(name)
    settings = check_study(read_recipe(file), str(file), seeds)
    _check_output(output)

    from inceptcli.studies.results import check_networks, judge
    from inceptcli.studies.runs import possible_runs

    check_networks(settings, str(file))
    hide("inceptcli.data")  # each run logs these notices itself
    possible = possible_runs(settings, output, data)
    figure = output / "study.png"
    for path in (figure, *(run.folder / "arm.yaml" for run in possible)):
        OutputFiles({"--output": path}).check([file])
    flags = {"--data": data, "--output": output, "--seeds": seeds}
    flags |= {"--jobs": jobs if jobs > 1 else None}
    flags |= {"--format": output_format if output_format != "table" else None}
    trained = _trained(settings, possible, output, data, jobs)
    judged = {
        "study": Path(name).stem,
        "claim": None if settings.claim is None else settings.claim.model_dump(exclude_none=True),
        "command": command_given(name, flags),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "version": version("inceptcli"),
        "cores": usable_cores(),
        **judge(settings, *trained),
    }
    if output_format == "json":
        echo(json.dumps(judged, indent=2))
    else:
        print_fitted(_as_table(judged))

    from inceptcli.plots.study_figure import draw_study

    try:
        draw_study(figure, judged, verdicts_in_words(judged))
    except OSError as error:
        raise UserError(f"{figure}: {error.strerror or error}") from error
    say_written(figure)


def _check_output(output: Path) -> None:
    """Make the folder of the runs. Raises UsageError if it is no folder or not writable."""
    if os.path.lexists(output) and not output.is_dir():
        raise UsageError(f"--output {output}: not a folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror}") from error
    if not os.access(output, os.W_OK | os.X_OK):
        raise UsageError(f"--output {output}: not writable")


def command_given(name: str, flags: Mapping[str, object]) -> str:
    """Return the command that was given, with paths that say nothing about the machine."""
    words = ["inceptcli", "study", _relative(name)]
    for flag, value in flags.items():
        if value is not None:
            words += [flag, _relative(str(value))]
    return shlex.join(words)


def _relative(text: str) -> str:
    """Return a path relative to the current folder, or its name if it is elsewhere.

    An address is returned without its secrets.
    """
    if scheme_of(text):
        return redacted(text)
    path = Path(os.path.abspath(text))  # noqa: PTH100 (links stay what they are called)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def _trained(
    study: Study, possible: list[StudyRun], output: Path, data: str | None, jobs: int
) -> tuple[list[StudyResult], list[StudyResult], list[BestValue], list[Evaluated]]:
    """Train all runs; return their results, those of the search, its values and evaluations."""
    import signal

    from inceptcli.processes.signals import EXIT_STOPPED, after_imports, signals_to_take
    from inceptcli.studies.evaluating import evaluate_all
    from inceptcli.studies.runs import check_runs, runs_of, tries_of
    from inceptcli.studies.search import best_values, chosen
    from inceptcli.studies.training import Crew

    tries = tries_of(study, output, data)
    total = len({run.folder for run in (*tries, *runs_of(study, output, data))})
    crew = Crew(jobs, "last-error" if study.evaluations else study.measure, total)
    for number in signals_to_take():
        signal.signal(number, after_imports(crew.on_signal))
    try:
        crew.unreadable = check_runs(possible)
        tried = crew.train(tries)
        best = best_values(study.search, tried) if study.search else []
        for each in best:
            logger.info(each.described(study.search.key if study.search else ""))
        results = crew.train(runs_of(study, output, data, chosen(best)))
        for reason in check_runs([each.run for each in (*tried, *results)]).values():
            raise UserError(reason)  # files or data have changed during the runs
        evaluated = evaluate_all(study, results, output)
    except SystemExit as stop:
        logger.info(
            "stopped; the runs are saved, and the same command continues"
            if stop.code == EXIT_STOPPED
            else "interrupted; the same command continues from the last checkpoints, if any"
        )
        raise
    return results, tried, best, evaluated


def _as_table(judged: dict[str, Any]) -> str:
    claim = judged["claim"]
    lines = [f"{claim['says']} (section {claim['section']})", ""] if claim else []
    return "\n".join(
        [
            *lines,
            printable(judged["question"]),
            "",
            *_figures(judged),
            "",
            *([_searched(judged["search"]), ""] if judged["search"] else []),
            *verdicts_in_words(judged),
            "",
            CORRECTED,
        ]
    )


def verdicts_in_words(judged: dict[str, Any]) -> list[str]:
    """Return a line for each comparison and trend, and those of the threshold."""
    return [
        *map(_compared, judged["verdicts"]),
        *map(_trend, judged["trends"]),
        *_threshold(judged),
    ]


def _figures(judged: dict[str, Any]) -> list[str]:
    width = max(map(len, judged["arms"]))
    ending = "" if judged["evaluations"] else ", last top-1 error"
    lines = [f"{'':<{width}}  {judged['measure']} by seed{ending}"]
    for arm, figures in judged["arms"].items():
        runs = [run for run in judged["runs"] if run["arm"] == arm]
        measured = "  ".join(f"{figure:7.2%}" for figure in figures)
        errors = "  ".join(f"{run['errors'][-1]:7.2%}" if run["errors"] else "-" for run in runs)
        failed = "; ".join(run["failure"] for run in runs if run["failure"])
        lines.append(f"{arm:<{width}}  {measured}   {errors}" + (f"  ({failed})" if failed else ""))
    return lines


def _searched(search: dict[str, Any]) -> str:
    return "\n".join(
        f"{each['arm']}: {search['key']} {each['value']} has the lowest last error"
        + (f", tied with {', '.join(map(str, each['tied']))}" if each["tied"] else "")
        + ("; best at the edge of the search" if each["at_edge"] else "")
        for each in search["best"]
    )


WORDS = {
    "lower": "lower than",
    "higher": "higher than",
    "no-difference": "no different from",
    "not-lower": "not lower than",
    "not-higher": "not higher than",
}


def _compared(entry: dict[str, Any]) -> str:
    claim = f"{entry['measure']} of {entry['arm']} {WORDS[entry['expected']]} {entry['against']}"
    if "minus" in entry:
        pairs = (f"{pair['arm']} - {pair['against']}" for pair in (entry, entry["minus"]))
        claim = f" {WORDS[entry['expected']]} ".join(pairs)
    ending = ""
    if interval := entry.get("images_interval"):
        low, high = (f"{100 * bound:+z.1f}" for bound in interval)
        ending = f"; {low} to {high} over the images"
    return f"{claim}{_decided(entry, 'points')}{ending}"


def _trend(entry: dict[str, Any]) -> str:
    claim = f"change of {entry['measure']} {WORDS[entry['expected']]} 0 by doubled {entry['over']}"
    return f"{claim}{_decided(entry, 'points per doubling')}"


def _decided(entry: dict[str, Any], unit: str) -> str:
    margin = "" if entry["margin"] is None else f" (margin {100 * entry['margin']:g} points)"
    return (
        f"{margin}: {entry['answer']} ({100 * entry['difference']:+z.1f} {unit}, 95 % interval "
        f"{100 * entry['low']:+z.1f} to {100 * entry['high']:+z.1f}, adjusted p "
        f"{entry['adjusted_p']:.2g})"
    )


def _threshold(judged: dict[str, Any]) -> list[str]:
    threshold = judged["threshold"]
    if threshold is None:
        return []
    lines = [f"smallest {threshold['along']} with {threshold['measure']} above "
             f"{threshold['above']:.0%}:"]  # fmt: skip
    for row in threshold["found"]:
        place = ", ".join(f"{key} {value}" for key, value in row["at"].items())
        more = "" if row["larger_too"] in (True, None) else ", but not all larger ones"
        lines.append(
            f"  {place or 'all'}: {'none' if row['value'] is None else row['value']}{more}"
        )
    return lines
