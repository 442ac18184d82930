"""Build Lightning's loggers, which receive the metrics in addition to metrics.csv."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from inceptcli.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from inceptcli.training.run_directory import RunDirectory

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "comet": "comet_ml"}
"""Package of each logger, installed by the extra of the logger's name."""


SERVICES = ("wandb", "mlflow", "comet")
"""Loggers that assign an identifier to each run."""


def check_logger(name: str) -> None:
    """Raise UserError when the logger's package is missing; import nothing."""
    package = PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        raise UserError(
            f"trainer.logger {name} needs {package}; pip install 'inceptcli[{name}]', "
            "or --set trainer.logger=none"
        )


def build_logger(name: str, directory: RunDirectory) -> Logger:
    """Start Lightning's logger `name` with its files in the run directory.

    A resumed run continues under the same identifier at a service. Account and address of a
    service come from the environment variables of its client.
    """
    logger = BUILDERS[name](directory)
    _ = logger.experiment  # type: ignore[attr-defined]  # all loggers have it
    if name in SERVICES:
        directory.save_logger_id(name, str(logger.version))
    return logger


def _tensorboard(directory: RunDirectory) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(directory.path, "", "tensorboard", default_hp_metric=False)


def _csv(directory: RunDirectory) -> Logger:
    from lightning.pytorch.loggers import CSVLogger

    # Each start gets a new folder: CSVLogger removes the files in an existing one.
    return CSVLogger(directory.path, "csv")


def _wandb(directory: RunDirectory) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(
        name=directory.path.name,
        save_dir=directory.path,
        project="inceptcli",
        version=directory.logger_id("wandb"),
        resume="allow",
    )


def _mlflow(directory: RunDirectory) -> Logger:
    from lightning.pytorch.loggers import MLFlowLogger

    folder = directory.path.absolute()
    return MLFlowLogger(
        "inceptcli",
        folder.name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db"),
        artifact_location=str(folder / "mlflow"),
        run_id=directory.logger_id("mlflow"),
    )


def _comet(directory: RunDirectory) -> Logger:
    from lightning.pytorch.loggers import CometLogger

    return CometLogger(
        project="inceptcli",
        experiment_key=directory.logger_id("comet"),
        mode="get_or_create",
        name=directory.path.name,
        offline_directory=str(directory.path / "comet"),
    )


BUILDERS: Mapping[str, Callable[[RunDirectory], Logger]] = {
    "tensorboard": _tensorboard,
    "csv": _csv,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "comet": _comet,
}
