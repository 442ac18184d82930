"""Inception-v4, Inception-ResNet-v1 and -v2 (arXiv 1602.07261) in Python and on the command line.

`load`, `train`, `evaluate`, `calibrate`, `summarize` and `network` are the Python functions of the
commands; see `inceptcli guide python`. Heavy libraries are imported when a function is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inceptcli.jobs.calibrate import calibrate as calibrate
    from inceptcli.jobs.evaluate import evaluate as evaluate
    from inceptcli.jobs.load import load as load
    from inceptcli.jobs.network import network as network
    from inceptcli.jobs.summarize import summarize as summarize
    from inceptcli.jobs.train import train as train

JOBS = ("calibrate", "evaluate", "load", "network", "summarize", "train")


def __getattr__(name: str) -> Any:
    """Import a function of the Python interface on first access."""
    if name not in JOBS:
        raise AttributeError(f"module 'inceptcli' has no attribute {name!r}")
    return getattr(import_module(f"inceptcli.jobs.{name}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*JOBS]
