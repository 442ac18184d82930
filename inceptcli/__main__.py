"""`python -m inceptcli` and `inceptcli`."""

import signal

from inceptcli.standard_streams import secure_standard_streams


def main() -> None:
    """Run the command line."""
    secure_standard_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C ends the program without a traceback until a command listens.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    from inceptcli.cli.app import app

    app(prog_name="inceptcli")


if __name__ == "__main__":
    main()
