"""When each curve reaches given values, as a table for people, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from inceptcli.plots.curve import METRICS, By
from inceptcli.plots.reaching import CurveReached, Reached
from inceptcli.tables import results_console
from inceptcli.text import defused, printable

UNITS = {"epoch": "Epochs", "step": "Steps", "hours": "Hours"}


def as_json(table: Sequence[CurveReached], window: float) -> str:
    """Return one object; errors in percent. `reached` is yes, no, or before the curve starts.

    `reached` and `final` are of means over the last `window` epochs, `best` of single epochs.
    """
    metric = table[0].curve.metric
    entries = [
        {
            "curve": row.curve.name,
            "source": row.curve.source,
            "epochs": row.curve.epochs[-1],
            "best": round(min(row.curve.values), 6),
            "best_epoch": row.curve.best_epoch,
            "final": round(row.final, 6),
            "reached": [{"value": value, **_fields(at)} for value, at in row.reached.items()],
        }
        for row in table
    ]
    head = {"metric": metric, "unit": METRICS[metric].unit, "window": window}
    return json.dumps({**head, "curves": entries}, indent=2)


def as_csv(table: Sequence[CurveReached], window: float) -> str:
    """Return a line per curve and value; fields as in the JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("curve", "source", "metric", "window", "value", *_fields(None)))
    for row in table:
        head = defused(printable(row.curve.name)), row.curve.source, row.curve.metric, f"{window:g}"
        for value, at in row.reached.items():
            writer.writerow((*head, f"{value:g}", *_fields(at).values()))
    return text.getvalue()


def print_table(table: Sequence[CurveReached], by: By, window: float) -> None:
    """Print a row per curve and a column per value; a star marks the first curve to reach it."""
    from rich.box import SIMPLE
    from rich.table import Table

    metric = METRICS[table[0].curve.metric]
    drawn = Table(box=SIMPLE, padding=(0, 1))
    drawn.add_column("")
    for value in table[0].reached:
        drawn.add_column(f"{value:g} {metric.unit}".strip(), justify="right", no_wrap=True)
    drawn.add_column("best", justify="right", no_wrap=True)
    drawn.add_column("at epoch", justify="right", no_wrap=True)
    drawn.add_column("final", justify="right", no_wrap=True)
    legend: dict[str, str] = {}
    for row in table:
        cells = []
        for value, at in row.reached.items():
            is_first = _is_first(at, [other.reached[value] for other in table], by)
            legend |= _legend(at, is_first)
            cells.append(_cell(at, by) + ("*" if is_first else " "))
        best, final = (
            f"{value:.2f} {metric.unit}".strip() for value in (min(row.curve.values), row.final)
        )
        epoch = f"{row.curve.best_epoch:{'.0f' if row.curve.published else '.10g'}}"
        drawn.add_row(printable(row.curve.name), *cells, best, epoch, final)
    console = results_console()
    of_mean = f", the mean of the last {window:g} epochs," if window else ""
    console.print(f"{UNITS[by]} until the {metric.title.lower()}{of_mean} is at most")
    console.print(drawn)
    for sign, meaning in sorted(legend.items()):
        console.print(f"{sign:<2}  {meaning}")


def _legend(at: Reached | None, is_first: bool) -> dict[str, str]:
    """Return the symbols of a cell and their meanings."""
    if at is None:
        return {"-": "not reached"}
    return {
        **({"*": "first to reach it"} if is_first else {}),
        **({"<N": "reached before N, where the curve begins"} if at.before else {}),
    }


def _fields(at: Reached | None) -> dict[str, Any]:
    if at is None:
        return {"reached": "no", "epoch": None, "step": None, "hours": None}
    return {
        "reached": "before" if at.before else "yes",
        "epoch": int(at.epoch) if at.epoch == int(at.epoch) else at.epoch,
        "step": None if at.step is None else int(at.step),
        "hours": None if at.hours is None else round(at.hours, 5),
    }


def _is_first(at: Reached | None, column: Sequence[Reached | None], by: By) -> bool:
    """Whether no curve was earlier; False if unknown, as for a curve that starts at the value."""
    there = [found for found in column if found is not None]
    if at is None or len(column) < 2 or any(found.before for found in there):
        return False
    return at.spent(by) == min(found.spent(by) for found in there)


def _cell(at: Reached | None, by: By) -> str:
    if at is None:
        return "-"
    spent = f"{at.spent(by):.2f}" if by == "hours" else f"{at.spent(by):.10g}"
    return f"<{spent}" if at.before else spent
