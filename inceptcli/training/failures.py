"""What ends a run from outside, out of memory or disk, as one line that says what to do."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from safetensors import SafetensorError

from inceptcli.errors import UserError
from inceptcli.networks.compiling import compilation_failure
from inceptcli.training.plan import Plan
from inceptcli.training.run_directory import RunDirectory

NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@contextmanager
def explained(plan: Plan, directory: RunDirectory) -> Iterator[None]:
    """Turns a lack of memory, of room on the disk or of a compiler into a UserError, no more."""
    try:
        yield
    except (OSError, MemoryError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise UserError(out_of_memory(plan)) from error
        if (failure := compilation_failure(error)) is not None:
            raise UserError(failure) from error
        reason = _unwritable(error)
        if reason is None:
            raise
        raise UserError(
            f"{directory.path}: cannot be written: {reason}; the last checkpoint is whole, so "
            "after making room the same command continues"
        ) from error


@contextmanager
def reason_logged(directory: RunDirectory) -> Iterator[None]:
    """Leaves in train.log why the block ended, where it is an error."""
    try:
        yield
    except UserError as error:
        with suppress(OSError):
            directory.log(f"ended: {error}")
        raise
    except Exception as error:
        rank = "" if directory.writes else f"process {os.getpid()} on {os.uname().nodename} "
        with suppress(OSError):
            if directory.writes:
                directory.log("".join(traceback.format_exception(error)).rstrip())
            first = (str(error) or type(error).__name__).splitlines()[0]
            directory.log_from_any_rank(f"{rank}ended: {type(error).__name__}: {first}")
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the machine had no memory left."""
    said = ("DefaultCPUAllocator: can't allocate memory", "CUDA out of memory", "_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        part in str(error) for part in said
    )


def out_of_memory(plan: Plan) -> str:
    """The line that says so and what to try."""
    height, width = plan.preprocessing.image_size
    return (
        f"out of memory with batches of {plan.batch_size} images of {height}x{width} pixels in "
        f"{plan.recipe.trainer.precision}; try a smaller --batch-size, with "
        "--set trainer.accumulate_batches=N for as many images per step, --precision bf16-mixed or "
        "a smaller --image-size"
    )


def _unwritable(error: Exception) -> str | None:
    """Why a file could not be written; None when that is not what happened."""
    for cause in (error, error.__context__):
        if isinstance(cause, OSError) and cause.errno in NOT_WRITABLE:
            return cause.strerror
        if isinstance(cause, SafetensorError) and "I/O error: " in str(cause):
            return str(cause).partition("I/O error: ")[2]
    return None
