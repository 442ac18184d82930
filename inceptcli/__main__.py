"""`python -m inceptcli` and `inceptcli`."""

from inceptcli.cli.app import app


def main() -> None:
    """Run the command line."""
    app(prog_name="inceptcli")


if __name__ == "__main__":
    main()
