"""`python -m inceptcli` and `inceptcli`."""

from inceptcli.cli.app import app
from inceptcli.standard_streams import secure_standard_streams


def main() -> None:
    """Run the command line."""
    secure_standard_streams()
    app(prog_name="inceptcli")


if __name__ == "__main__":
    main()
