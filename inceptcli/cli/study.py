"""`inceptcli study`: test a claim with several training runs."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option, echo

from inceptcli.cli.completion import complete_study
from inceptcli.cli.outputs import OutputFiles, print_fitted
from inceptcli.errors import UsageError
from inceptcli.progress.display import hide, hush
from inceptcli.text import printable

if TYPE_CHECKING:
    from inceptcli.recipe.study import Study
    from inceptcli.studies.runs import StudyResult

logger = logging.getLogger(__name__)

EPILOG = """Examples:

\b
  inceptcli study residual-speed --data flowers --output runs/residual-speed --jobs 2
  inceptcli study scaling --data flowers --output runs/scaling --format json
  inceptcli study my-study.yaml --data flowers --output runs/my-study
"""


def study(
    name: Annotated[
        str,
        Argument(
            metavar="NAME|FILE",
            autocompletion=complete_study,
            help="Study: residual-speed, shortcut, scaling or a study file.",
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
        Option(help="Dataset, as for `train`. Default: generated shapes.", show_default=False),
    ] = None,
    seeds: Annotated[
        int | None,
        Option(min=2, max=11, help="Runs per arm. Default: the study's.", show_default=False),
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
    interval. When stopped by a signal, the runs save, the exit code is 75, and the same command
    continues.

    JSON has question, measure, arms (values by seed), verdicts (each arm, against, expected,
    difference, low, high, answer) and runs (each arm, seed, errors, dead_units, failure).
    """
    import signal
    import sys

    from inceptcli.recipe.file import find_study, read_recipe
    from inceptcli.recipe.study import check_study

    file = find_study(name)
    settings = check_study(read_recipe(file), str(file))
    if seeds is not None:
        settings = settings.model_copy(update={"seeds": list(range(seeds))})
    if os.path.lexists(output) and not output.is_dir():
        raise UsageError(f"--output {output}: not a folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror}") from error
    if not os.access(output, os.W_OK | os.X_OK):
        raise UsageError(f"--output {output}: not writable")

    from inceptcli.processes.signals import EXIT_STOPPED, after_imports, signals_to_take
    from inceptcli.studies.runs import check_one_data, runs_of, train_all

    for number in signals_to_take():
        signal.signal(number, after_imports(lambda *_: sys.exit(EXIT_STOPPED)))

    hide("inceptcli.data")  # each run logs these notices itself
    try:
        runs = runs_of(settings, output)
        for run in runs:
            OutputFiles({"--output": run.folder / "arm.yaml"}).check([file])
        check_one_data(settings, runs, data)
        results = train_all(settings, runs, data, jobs)
        check_one_data(settings, runs, data)  # the data may have changed during the runs
    except SystemExit:
        logger.info("stopped; the runs are saved, and the same command continues")
        raise
    judged = judge(settings, results)
    if output_format == "json":
        echo(json.dumps(judged, indent=2))
    else:
        print_fitted(_as_table(judged))


def judge(study: Study, results: list[StudyResult]) -> dict[str, Any]:
    """Return the values by arm and seed, and a verdict for each comparison, ready for JSON."""
    from inceptcli.studies.verdict import verdict

    figures = {
        arm: [result.figure(study.measure) for result in results if result.run.arm == arm]
        for arm in study.arms
    }
    verdicts = [
        {
            **comparison.model_dump(),
            **verdict(
                figures[comparison.arm], figures[comparison.against], comparison.expected
            )._asdict(),
        }
        for comparison in study.comparisons
    ]
    runs = [
        {
            "arm": result.run.arm,
            "seed": result.run.seed,
            "errors": result.errors,
            "dead_units": result.dead_units,
            "failure": result.failure,
        }
        for result in results
    ]
    return {
        "question": study.question,
        "measure": study.measure,
        "arms": figures,
        "verdicts": verdicts,
        "runs": runs,
    }


def _as_table(judged: dict[str, Any]) -> str:
    width = max(map(len, judged["arms"]))
    lines = [
        printable(judged["question"]),
        "",
        f"{'':<{width}}  {judged['measure']} by seed, last top-1 error",
    ]
    for arm, figures in judged["arms"].items():
        runs = [run for run in judged["runs"] if run["arm"] == arm]
        measured = "  ".join(f"{figure:7.2%}" for figure in figures)
        errors = "  ".join(f"{run['errors'][-1]:7.2%}" if run["errors"] else "-" for run in runs)
        failed = "; ".join(run["failure"] for run in runs if run["failure"])
        lines.append(f"{arm:<{width}}  {measured}   {errors}" + (f"  ({failed})" if failed else ""))
    lines.append("")
    for entry in judged["verdicts"]:
        lines.append(
            f"{entry['arm']} {entry['expected']} than {entry['against']}: {entry['answer']} "
            f"({100 * entry['difference']:+.1f} points, 95 % interval "
            f"{100 * entry['low']:+.1f} to {100 * entry['high']:+.1f})"
        )
    return "\n".join(lines)
