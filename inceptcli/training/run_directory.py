"""Run directory: paths, small files and the lock of a run. No torch."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from inceptcli.data.identity import ImageNumber
from inceptcli.errors import UsageError, UserError
from inceptcli.files.atomic_file import remove_abandoned, replacing
from inceptcli.files.file_lock import lock
from inceptcli.files.no_follow import check_no_links, open_no_follow
from inceptcli.files.regular_file import read_regular
from inceptcli.processes.launchers import is_first_process
from inceptcli.recipe.file import read_recipe
from inceptcli.recipe.schema import Recipe, check
from inceptcli.recipe.yaml_text import dump
from inceptcli.text import printable
from inceptcli.training.csv_rows import number_in, rows_in
from inceptcli.training.skipped import add_skipped, read_skipped

logger = logging.getLogger("inceptcli")

METRICS = (
    "epoch",
    "step",
    "seconds",
    "learning_rate",
    "train_loss",
    "val_loss",
    "val_top1",
    "val_top5",
    "val_macro_f1",
    "val_balanced_accuracy",
    "val_average_precision",
    "val_micro_f1",
    "images_per_second",
    "model_flops_utilization",
    "dead_units",
)
"""Columns of metrics.csv; callbacks/recorder.py fills them."""

DEAD_UNITS = ("epoch", "step", "stage", "share")

KEPT_CHECKPOINTS = 2

FILES = {
    "curves.png", "data.jsonl.gz", "dead_units.csv", "diagnosis.json", "lock", "logger.json",
    "metrics.csv", "model.safetensors", "recipe.yaml", "skipped.csv", "stopped", "train.log",
}  # fmt: skip
"""Files of a run, other than those in folders."""

FOLDERS = ("checkpoints", "csv", "tensorboard")
"""Folders of a run and of loggers that append to existing files."""

LONGEST_OWNER = 200
"""Largest length of the owner's name in `lock`, in characters."""

MOST_BYTES = 2**20
"""Largest size of a small file, in bytes."""


class RunDirectory:
    """Paths and small files of a run; only global rank 0 writes.

    Attributes:
        keeps: whether the run is saved.
    """

    keeps = True

    def __init__(self, path: Path) -> None:
        """Raise UsageError if it contains a link, or a folder in place of a file."""
        check_no_links(path, "--output", FILES)
        for name in FOLDERS:
            check_no_links(path / name, "--output")
        try:
            path.exists()
        except OSError as error:  # the parent folder is not accessible
            raise UsageError(f"--output {path}: {error.strerror}") from error
        self.path = path
        self.writes = is_first_process()
        self._lock: IO[str] | None = None
        self._notices = _Notices(self)

    def open(self) -> None:
        """Create the folder, lock it and start writing notices to train.log.

        Raises UsageError when the folder is not writable or another process is training in it.
        """
        if not self.writes:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open_no_follow(self.path / "lock", "a+")
        except OSError as error:
            raise UsageError(
                f"--output {self.path}: cannot be written: {error.strerror}"
            ) from error
        checkpoints = self.path / "checkpoints"
        if checkpoints.is_dir() and not os.access(checkpoints, os.W_OK | os.X_OK):
            raise UsageError(f"--output {self.path}: {checkpoints} cannot be written")
        self._notices.start()
        try:
            locked = lock(self._lock)
        except BlockingIOError as error:
            self._lock.seek(0)
            owner = self._lock.read(LONGEST_OWNER).strip() or "another process"
            self._lock.close()
            self._notices.stop()
            raise UsageError(f"--output {self.path}: {owner} is training in this folder") from error
        self._lock.seek(0)
        dead = printable(self._lock.read(LONGEST_OWNER).strip())
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {os.uname().nodename}")
        self._lock.flush()
        for name in FILES:
            remove_abandoned(self.path, name)
        if dead and locked:
            self.log(f"took over the lock of {dead}, which is gone")

    def close(self) -> None:
        """Release the lock and stop writing notices to train.log."""
        self._notices.stop()
        if self._lock:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    @property
    def weights(self) -> Path:
        """Return the path of the best weights so far."""
        return self.path / "model.safetensors"

    @property
    def data_identity(self) -> Path:
        """Return the path of the identity of the training data."""
        return self.path / "data.jsonl.gz"

    def checkpoint_path(self, step: int) -> Path:
        """Return the path of the checkpoint after optimizer step `step`."""
        return self.path / "checkpoints" / f"step-{step:09d}.ckpt"

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*.ckpt"))

    def set_aside(self, checkpoint: Path) -> None:
        """Rename a damaged checkpoint to `*.damaged`, so that it is ignored."""
        if self.writes:
            checkpoint.replace(checkpoint.with_name(f"{checkpoint.name}.damaged"))

    @property
    def has_trained(self) -> bool:
        """Return whether a run left anything that a new run would overwrite."""
        damaged = (self.path / "checkpoints").glob("step-*.damaged")
        stopped = self.path / "stopped"
        was_stopped = stopped.is_file() and b"after step" in read_regular(stopped, MOST_BYTES)
        return self.weights.exists() or any(damaged) or was_stopped or bool(self.read_metrics())

    def forget_stop(self) -> None:
        """Remove the file `stopped` of a run that is resumed."""
        if self.writes:
            (self.path / "stopped").unlink(missing_ok=True)

    def drop_old_checkpoints(self) -> None:
        """Remove all but the last two checkpoints, and temporary files of killed processes."""
        for path in self.checkpoints()[:-KEPT_CHECKPOINTS]:
            path.unlink()
        remove_abandoned(self.path / "checkpoints", "*")

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the complete recipe to recipe.yaml, ready to train again."""
        if self.writes:
            text = dump(recipe.as_dict())
            with replacing(self.path / "recipe.yaml") as temporary:
                temporary.write_text(text)

    def read_recipe(self) -> Recipe | None:
        """Read the recipe of the run, or None if there is no run."""
        path = self.path / "recipe.yaml"
        return check(read_recipe(path), str(path)) if path.is_file() else None

    def see(self, name: str, before: str = "; ") -> str:
        """Return `; see PATH` for a message about a file of the run."""
        return f"{before}see {self.path / name}" if self.keeps else ""

    def log(self, line: str) -> None:
        """Append a line to train.log."""
        if self.writes:
            self.log_from_any_rank(line)

    def log_from_any_rank(self, line: str) -> None:
        """Append a line to train.log from a rank other than 0."""
        with open_no_follow(self.path / "train.log", "a") as file:
            file.write(
                f"{datetime.now().astimezone().isoformat(timespec='seconds')} {printable(line)}\n"
            )

    def mark_stopped(self, line: str) -> None:
        """Write the file `stopped`, kept until the next start; torchrun hides the exit code 75."""
        if self.writes:
            with replacing(self.path / "stopped") as temporary:
                temporary.write_text(f"{line}\n")

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append a row to metrics.csv."""
        self._append("metrics.csv", METRICS, [row])

    def append_dead_units(self, epoch: float, step: int, shares: Mapping[str, float]) -> None:
        """Append a row per stage to dead_units.csv; shares are 0 to 1."""
        rows = [
            {"epoch": epoch, "step": step, "stage": stage, "share": round(share, 6)}
            for stage, share in shares.items()
        ]
        self._append("dead_units.csv", DEAD_UNITS, rows)

    def _append(self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        if not self.writes:
            return
        with open_no_follow(self.path / name, "a", newline="") as file:
            writer = csv.DictWriter(file, columns)
            if file.tell() == 0:
                writer.writeheader()
            writer.writerows(rows)

    def read_metrics(self) -> list[dict[str, str]]:
        """Return the rows of metrics.csv, without damaged ones."""
        rows = rows_in(self.path / "metrics.csv")
        return [row for row in rows if number_in(row, "step") is not None]

    def logger_id(self, logger: str) -> str | None:
        """Return the identifier that a logger's service gave this run, or None."""
        path = self.path / "logger.json"
        try:
            noted = json.loads(read_regular(path, MOST_BYTES))
            version = noted.get(logger)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise UserError(f"{path}: is damaged; remove it to give the run a new name") from error
        return None if version is None else str(version)

    def save_logger_id(self, logger: str, version: str) -> None:
        """Save the identifier for a resumed run; only the latest logger's is kept."""
        with replacing(self.path / "logger.json") as temporary:
            temporary.write_text(json.dumps({logger: version}))

    def forget_metrics_after(self, step: int) -> None:
        """Remove the rows of steps that a resumed run repeats."""
        self._forget_after(step, "metrics.csv", METRICS)
        self._forget_after(step, "dead_units.csv", DEAD_UNITS)

    def _forget_after(self, step: int, name: str, columns: Sequence[str]) -> None:
        path = self.path / name
        if not self.writes or not path.is_file():
            return
        rows = [
            {column: row.get(column, "") for column in columns}
            for row in rows_in(path)
            if columns[-1] in row and (at := number_in(row, "step")) is not None and at <= step
        ]
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def append_skipped(self, name: str, number: ImageNumber, reason: str) -> None:
        """Append an image to skipped.csv."""
        if self.writes:
            add_skipped(self.path / "skipped.csv", name, number, reason)

    def skipped(self) -> dict[ImageNumber, str]:
        """Return the images in skipped.csv with their reasons."""
        return read_skipped(self.path / "skipped.csv")


class NoRunDirectory(RunDirectory):
    """Run directory of a trial, which saves nothing and resumes nothing."""

    keeps = False

    def __init__(self) -> None:
        self.path = Path(os.devnull) / "trial"  # cannot exist
        self.writes = False
        self._lock = None
        self._notices = _Notices(self)

    def log_from_any_rank(self, line: str) -> None:
        """Do nothing."""


class _Notices(logging.Handler):
    """Logging handler that writes the program's notices to train.log."""

    def __init__(self, directory: RunDirectory) -> None:
        super().__init__(logging.INFO)
        self._directory = directory

    def start(self) -> None:
        """Add the handler, and lower the logger's level to INFO."""
        self._level_before = logger.level
        logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
        logger.addHandler(self)

    def stop(self) -> None:
        """Remove the handler and restore the logger's level."""
        if self in logger.handlers:
            logger.removeHandler(self)
            logger.setLevel(self._level_before)

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line; ignore a full disk, which fails at the next checkpoint."""
        with suppress(OSError):
            self._directory.log(record.getMessage())
