"""The Typer application: subcommands, `--version` and error reporting."""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import Annotated, Any

from typer import BadParameter, Exit, Option, Typer, echo

from inceptcli.cli.interruption import interruptible
from inceptcli.cli.subcommands import LazyGroup
from inceptcli.errors import UsageError, UserError
from inceptcli.progress.display import notices
from inceptcli.text import fitted, printable, shortened


class ReportingGroup(LazyGroup):
    """A command group that prints a UserError as one line on stderr and exits with its code."""

    trains = False

    modules = {  # noqa: RUF012 (as in its base)
        "train": "train",
        "eval": "evaluate",
        "calibrate": "calibrate",
        "predict": "predict",
        "merge": "merge",
        "summarize": "summarize",
        "compare": "compare",
        "import": "import_weights",
        "export": "export",
        "quantize": "quantize",
        "study": "study",
        "list": "list_names",
        "guide": "guide",
        "data": "data",
    }

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse empty arguments and expand ~ in all others.

        Shells expand ~ only at the start of a word: not in --output=~/run and not in quotes.
        """
        check_not_empty(args)
        self.trains = args[:1] in (["train"], ["study"])
        if "--install-completion" in args:
            check_home()
        return super().parse_args(ctx, [with_home(argument) for argument in args])

    def invoke(self, ctx: Any) -> object:
        """Run the subcommand and report its errors."""
        try:
            check_current_folder()
            with notices(), interruptible(self.trains):
                return super().invoke(ctx)
        except UserError as error:
            echo(fitted(f"Error: {shortened(printable(error))}", sys.stderr), err=True)
            raise Exit(error.exit_code) from None
        except BadParameter as error:
            # Typer keeps the prefix of pydantic's messages, and lists choices in lines.
            message = " ".join(error.format_message().replace(": Value error, ", ": ", 1).split())
            echo(fitted(f"Error: {message}", sys.stderr), err=True)
            raise Exit(UsageError.exit_code) from None
        except (OSError, MemoryError, ImportError, RuntimeError) as error:
            if (known := as_user_error(error)) is None:
                raise
            echo(f"Error: {known}", err=True)
            raise Exit(known.exit_code) from None


app = Typer(
    name="inceptcli",
    cls=ReportingGroup,
    no_args_is_help=True,
    # Help with Rich markup adds 0.2 s to every start.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def check_not_empty(args: list[str]) -> None:
    """Raise BadParameter for an empty argument: an empty path would mean the current folder."""
    for place, argument in enumerate(args):
        flag, equals, value = argument.partition("=")
        if not argument or (flag.startswith("--") and equals and not value):
            before = args[place - 1] if place and not argument else flag
            raise BadParameter(f"{before}: the value is empty; is a shell variable unset?")


def check_current_folder() -> None:
    """Raise UsageError if the current folder was removed: relative paths and torch need it."""
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        raise UsageError("the current folder no longer exists; change to another one") from None


def with_home(argument: str) -> str:
    """Expand ~ at the start of an argument or of a flag's value.

    Raises BadParameter for an unknown user. A file named ~name is given as ./~name.
    """
    flag, path = re.fullmatch(r"(--[a-z-]+=)?(.*)", argument, re.DOTALL).groups("")  # type: ignore[union-attr]  # always matches
    if not path.startswith("~"):
        return argument
    if (expanded := os.path.expanduser(path)) == path and not os.path.lexists(path):  # noqa: PTH111
        raise BadParameter(f"{argument}: no such home folder; a file of that name is ./{path}")
    return flag + expanded


def as_user_error(error: Exception) -> UserError | None:
    """Return the error of a path, of too little memory or of too few threads; None for others."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        name = printable(os.fsdecode(error.filename))
        if error.errno == errno.ENAMETOOLONG:
            return UsageError(f"{name[:40]}...: {error.strerror}")
        return UserError(f"{name}: {error.strerror}")
    if "can't start new thread" in str(error):
        return UserError(
            "cannot start another thread; if the machine can, raise the limits of the shell or job "
            "on processes (ulimit -u) and memory (ulimit -v)"
        )
    # torch and NumPy load many shared libraries, whose loader raises no MemoryError.
    if isinstance(error, MemoryError) or "failed to map segment" in str(error):
        return UserError(
            "not enough memory; if the machine has more, raise the limit of the shell or job "
            "(ulimit -v)"
        )
    return None


def check_home() -> None:
    """Raise BadParameter if shell completion cannot be installed into the home folder."""
    home = os.path.expanduser("~")  # noqa: PTH111  # pathlib raises where there is none
    if not os.access(home, os.W_OK):
        raise BadParameter(
            f"--install-completion: home folder {home} is not writable; set HOME to a writable "
            "folder, or print the script with --show-completion"
        )


def print_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        from importlib.metadata import version

        echo(f"inceptcli {version('inceptcli')}")
        raise Exit


@app.callback()
def program_options(
    version: Annotated[
        bool,
        Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train, evaluate and run Inception-v4, Inception-ResNet-v1 and Inception-ResNet-v2."""
