"""Where a run's time goes: Lightning's profilers, whose reports lie in the run directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from lightning.pytorch import Trainer
from lightning.pytorch.profilers import (
    AdvancedProfiler,
    Profiler,
    PyTorchProfiler,
    SimpleProfiler,
)

from inceptcli.files.no_follow import check_no_links
from inceptcli.training.run_directory import RunDirectory

PROFILERS: Mapping[str, Callable[..., Profiler]] = {
    "simple": partial(SimpleProfiler, extended=True),
    "advanced": AdvancedProfiler,
    # Steps 2 to 4 of training and of validation, both in one report.
    "pytorch": partial(PyTorchProfiler, acc_events=True),
}


def build_profiler(name: str, directory: RunDirectory) -> Profiler | None:
    """Lightning's profiler of that name; None for `none`.

    Each start adds its report to `profile/fit-NAME.txt`; of several ranks each has a file. Raises
    UsageError where a link lies in that folder.
    """
    if name == "none":
        return None
    folder = directory.path / "profile"
    check_no_links(folder, "--output")
    return PROFILERS[name](dirpath=folder, filename=name)


@contextmanager
def profile_reported(trainer: Trainer) -> Iterator[None]:
    """Writes the report of a block that a signal ends, too, and lets nothing be recorded after it.

    Lightning reports at the end of `fit`, and then starts its profiler again.
    """
    profiler: Profiler = vars(trainer)["profiler"]
    try:
        yield
    except SystemExit:
        profiler.describe()
        raise
    finally:
        profiler.teardown(None)
