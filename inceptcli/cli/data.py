"""`inceptcli data`: check and shard datasets before training."""

from __future__ import annotations

from typer import Typer

from inceptcli.cli.subcommands import LazyGroup


class DataGroup(LazyGroup):
    """`inceptcli data check` and `inceptcli data shard`."""

    modules = {"check": "data_check", "shard": "data_shard"}  # noqa: RUF012 (as in its base)


data = Typer(
    name="data",
    cls=DataGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@data.callback()
def data_options() -> None:
    """Check a dataset, or write it as tar shards."""
