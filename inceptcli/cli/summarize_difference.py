"""What `inceptcli summarize A B` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from typer import echo

from inceptcli.tables import results_console
from inceptcli.text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from inceptcli.networks.difference import Box, Difference, StageDifference
    from inceptcli.networks.registry import NetworkOptions
    from inceptcli.networks.summary import StageSummary, Summary


def print_difference(
    names: tuple[str, str],
    options: tuple[NetworkOptions, NetworkOptions],
    summaries: tuple[Summary, Summary],
    as_json: bool,
) -> None:
    """Print where two networks, called `names`, differ: for people, or as JSON."""
    from inceptcli.networks.difference import difference
    from inceptcli.networks.registry import NETWORKS

    found = difference(*summaries, options)
    if as_json:
        echo(_as_json(*summaries, found))
        return
    for name, summary in zip(names, summaries, strict=True):
        title = NETWORKS[summary.name].title
        echo(printable(f"{name}: {title} ({summary.layout}), {summary.parameters:,} parameters"))
    if found.none:
        echo("They are equal.")
        return
    results_console().print(_table(*summaries, names, found))
    differing = {entry.name for entry in found.stages}
    if equal := [stage.name for stage in summaries[0].stages if stage.name not in differing]:
        echo(f"Equal: {', '.join(equal)}")


def _as_json(first: Summary, second: Summary, found: Difference) -> str:
    def network(summary: Summary) -> dict[str, Any]:
        totals = {"parameters": summary.parameters, "multiply_adds": summary.multiply_adds}
        return {"name": summary.name, "layout": summary.layout, **totals}

    def stage(summary: StageSummary | None) -> dict[str, Any] | None:
        if summary is None:
            return None
        return {
            key: value for key, value in asdict(summary).items() if key not in ("name", "layers")
        }

    fields = {
        "first": network(first),
        "second": network(second),
        "image_size": first.image_size,
        "equal": found.none,
        "options": [asdict(option) for option in found.options],
        "stages": [
            {
                "name": entry.name,
                "first": stage(entry.first),
                "second": stage(entry.second),
                "boxes": [asdict(box) for box in entry.boxes],
            }
            for entry in found.stages
        ],
    }
    return json.dumps(fields, indent=2)


def _table(first: Summary, second: Summary, names: tuple[str, str], found: Difference) -> Table:
    """A row for each thing in which they differ; a stage is followed by its boxes."""
    from rich.table import Table

    table = Table()
    table.add_column("Where they differ", overflow="fold")
    for name in names:
        table.add_column(printable(name), overflow="fold")
    for option in found.options:
        table.add_row(option.option, _value(option.first), _value(option.second))
    _add_counts(table, "all", first, second)
    for entry in found.stages:
        _add_stage(table, entry)
    return table


def _add_stage(table: Table, entry: StageDifference) -> None:
    first, second = entry.first, entry.second
    figures = ("-" if stage is None else stage.figure for stage in (first, second))
    table.add_row(entry.name, *figures, style="bold")
    if first is not None and second is not None:
        if first.repeats != second.repeats:
            table.add_row("  modules", str(first.repeats), str(second.repeats))
        if first.output_shape != second.output_shape:
            shapes = ("x".join(map(str, stage.output_shape)) for stage in (first, second))
            table.add_row("  output", *shapes)
    _add_counts(table, " ", first, second)
    for box in entry.boxes:
        table.add_row(f"  {box.box}", _box(box.first), _box(box.second))


def _add_counts(
    table: Table,
    prefix: str,
    first: Summary | StageSummary | None,
    second: Summary | StageSummary | None,
) -> None:
    """Parameters and multiply-adds, where they differ."""
    for name, unit, words in (("parameters", 1, "{:,.0f}"), ("multiply_adds", 1e6, "{:,.1f} M")):
        counts = [None if part is None else getattr(part, name) for part in (first, second)]
        if counts[0] != counts[1]:
            table.add_row(
                f"{prefix} {name.replace('_', '-')}",
                *("-" if count is None else words.format(count / unit) for count in counts),
            )


def _box(box: Box | None) -> str:
    if box is None:
        return "-"
    parameters = f", {box.parameters:,} parameters" if box.parameters else ""
    return f"{box.kind}, {box.width} wide{parameters}"


def _value(value: Any) -> str:
    return "-" if value is None else str(value)
