"""Profile a run with Lightning's profilers; reports are in the run directory."""

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
    # Record steps 2 to 4 of training and of validation in one report.
    "pytorch": partial(PyTorchProfiler, acc_events=True),
}


def build_profiler(name: str, directory: RunDirectory) -> Profiler | None:
    """Return Lightning's profiler `name`; None for `none`.

    Each start appends its report to `profile/fit-NAME.txt`; each rank has its own file.

    Raises UsageError when the folder contains a link.
    """
    if name == "none":
        return None
    folder = directory.path / "profile"
    check_no_links(folder, "--output")
    return PROFILERS[name](dirpath=folder, filename=name)


@contextmanager
def profile_reported(trainer: Trainer) -> Iterator[None]:
    """Write the report also when a signal ends the block, and stop the profiler after it.

    Lightning reports only at the end of `fit` and then restarts its profiler.
    """
    profiler: Profiler = vars(trainer)["profiler"]
    try:
        yield
    except SystemExit:
        profiler.describe()
        raise
    finally:
        profiler.teardown(None)
