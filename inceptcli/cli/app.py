"""The application: subcommands, `--version`, and how errors are reported."""

from __future__ import annotations

import errno
from typing import Annotated, Any

from typer import Exit, Option, Typer, echo
from typer.core import TyperGroup

from inceptcli.cli.compare import EPILOG as COMPARE_EPILOG
from inceptcli.cli.compare import compare
from inceptcli.cli.data_check import EPILOG as DATA_CHECK_EPILOG
from inceptcli.cli.data_check import data_check
from inceptcli.cli.data_shard import EPILOG as DATA_SHARD_EPILOG
from inceptcli.cli.data_shard import data_shard
from inceptcli.cli.evaluate import EPILOG as EVALUATE_EPILOG
from inceptcli.cli.evaluate import evaluate
from inceptcli.cli.export import EPILOG as EXPORT_EPILOG
from inceptcli.cli.export import export
from inceptcli.cli.import_weights import EPILOG as IMPORT_EPILOG
from inceptcli.cli.import_weights import import_weights
from inceptcli.cli.list_names import EPILOG as LIST_EPILOG
from inceptcli.cli.list_names import list_names
from inceptcli.cli.predict import EPILOG as PREDICT_EPILOG
from inceptcli.cli.predict import predict
from inceptcli.cli.study import EPILOG as STUDY_EPILOG
from inceptcli.cli.study import study
from inceptcli.cli.summarize import EPILOG as SUMMARIZE_EPILOG
from inceptcli.cli.summarize import summarize
from inceptcli.cli.train import EPILOG as TRAIN_EPILOG
from inceptcli.cli.train import train
from inceptcli.errors import UsageError, UserError
from inceptcli.text import printable


class ReportingGroup(TyperGroup):
    """Prints a UserError as one line on stderr and turns it into its exit code."""

    def invoke(self, ctx: Any) -> object:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            echo(f"Error: {printable(str(error))}", err=True)
            raise Exit(error.exit_code) from None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            echo(f"Error: {printable(str(error.filename)[:40])}...: {error.strerror}", err=True)
            raise Exit(UsageError.exit_code) from None


app = Typer(
    name="inceptcli",
    cls=ReportingGroup,
    no_args_is_help=True,
    # Rich-marked help costs 0.2 s at every start.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for name, command, epilog in (
    ("train", train, TRAIN_EPILOG),
    ("eval", evaluate, EVALUATE_EPILOG),
    ("predict", predict, PREDICT_EPILOG),
    ("summarize", summarize, SUMMARIZE_EPILOG),
    ("compare", compare, COMPARE_EPILOG),
    ("import", import_weights, IMPORT_EPILOG),
    ("export", export, EXPORT_EPILOG),
    ("study", study, STUDY_EPILOG),
    ("list", list_names, LIST_EPILOG),
):
    app.command(name, epilog=epilog)(command)

data = Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at a dataset, make shards of it."
)
data.command("check", epilog=DATA_CHECK_EPILOG)(data_check)
data.command("shard", epilog=DATA_SHARD_EPILOG)(data_shard)
app.add_typer(data, name="data")


def print_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        from importlib.metadata import version

        echo(f"inceptcli {version('inceptcli')}")
        raise Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train, evaluate and run Inception-v4, Inception-ResNet-v1 and Inception-ResNet-v2."""
