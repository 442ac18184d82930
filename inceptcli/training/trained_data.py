"""A run keeps to its data: where that lies may change, what it is may not. No torch."""

from __future__ import annotations

from inceptcli.data.identity import DataIdentity, KeptIdentity, difference_of_data
from inceptcli.errors import UsageError
from inceptcli.files.atomic_file import replacing
from inceptcli.text import printable
from inceptcli.training.run_directory import RunDirectory


def kept_identity(directory: RunDirectory) -> KeptIdentity | None:
    """Of the data that the run there was trained on; None where nothing was trained.

    Raises UsageError when that is not known any more.
    """
    if not directory.checkpoints() and not directory.has_trained:
        return None
    if not directory.data_identity.is_file():
        raise UsageError(
            f"--output {directory.path}: {directory.data_identity.name} is gone, so nobody knows "
            "what the run there was trained on; give another --output"
        )
    return KeptIdentity(directory.data_identity)


def check_data(
    directory: RunDirectory, identity: DataIdentity, place: str | None
) -> KeptIdentity | None:
    """That the run there was trained on this data; images that it skipped may have been repaired.

    Gives what the run knows of its data, None where there is no run. Raises UsageError that says
    what differs, and that the data is at `place`.
    """
    kept = kept_identity(directory)
    if kept is None:
        return None
    other = difference_of_data(kept, identity, directory.skipped().keys())
    if other is not None:
        raise UsageError(
            f"--data {printable(place or 'shapes')}: not the data that the run in {directory.path} "
            f"was trained on: {other}; give that data, or another --output"
        )
    return kept


def keep_data(directory: RunDirectory, identity: DataIdentity, place: str | None) -> None:
    """As `check_data`; note what the data is at a run's start and when images were repaired."""
    kept = check_data(directory, identity, place)
    if directory.writes and kept is None:
        (directory.path / "skipped.csv").unlink(missing_ok=True)  # perhaps of other data
    if directory.writes and (kept is None or kept.sha256 != identity.sha256):
        with replacing(directory.data_identity) as temporary:
            identity.write(temporary)
