"""`python -m inceptcli` and `inceptcli`."""

import gc
import os
import signal
import sys

from inceptcli.errors import UserError
from inceptcli.processes.standard_streams import secure_standard_streams


def main() -> None:
    """Run the command line."""
    secure_standard_streams()
    # Other packages' plugins would be searched for at each start, and run.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C ends the program without a traceback until a command listens.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    from inceptcli.cli.app import app

    try:
        app(prog_name="inceptcli")
    except UserError as error:  # of --help and --version, which are no commands
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    finally:
        gc.freeze()  # the interpreter's last collections would look at every module, for 50 ms


if __name__ == "__main__":
    main()
