"""Convert failures of memory, disk and processes to one-line errors with a remedy."""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch.distributed import DistNetworkError, DistStoreError

from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.errors import UserError
from inceptcli.networks.compiling import compilation_failure
from inceptcli.processes.launchers import by_this_program
from inceptcli.training.plan import Plan
from inceptcli.training.run_directory import RunDirectory

NOT_WRITABLE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE
}  # fmt: skip


@contextmanager
def explained(plan: Plan, directory: RunDirectory) -> Iterator[None]:
    """Raise UserError for failures of memory, disk, compiler, loader process or rendezvous."""
    try:
        yield
    except UnreadableImage as error:  # torch puts the traceback of a worker into the message
        said = str(error).rpartition(f"{UnreadableImage.__name__}: ")[2]
        raise UserError(said.rstrip()) from error
    except (OSError, MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise UserError(out_of_memory(plan)) from error
        if (failure := compilation_failure(error)) is not None:
            raise UserError(failure) from error
        if (ended := worker_ended(error)) is not None:
            raise UserError(ended) from error
        if isinstance(error, DistNetworkError | DistStoreError):
            if by_this_program():  # the parent process reports it
                raise SystemExit(1) from None
            raise UserError(_rendezvous_failure(error)) from error
        reason = _unwritable(error, directory.path)
        if reason is None:
            raise
        raise UserError(
            f"{directory.path}: cannot be written: {reason}; {_remedy(directory)}"
        ) from error


@contextmanager
def reason_logged(directory: RunDirectory) -> Iterator[None]:
    """Write the error that ends the block to train.log."""
    try:
        yield
    except UserError as error:
        with suppress(OSError):
            directory.log_from_any_rank(f"{_rank_prefix(directory)}ended: {error}")
        raise
    except Exception as error:
        rank = _rank_prefix(directory)
        with suppress(OSError):
            if directory.writes:
                directory.log("".join(traceback.format_exception(error)).rstrip())
            first = (str(error) or type(error).__name__).splitlines()[0]
            directory.log_from_any_rank(f"{rank}ended: {type(error).__name__}: {first}")
        raise


def _rank_prefix(directory: RunDirectory) -> str:
    return "" if directory.writes else f"process {os.getpid()} on {os.uname().nodename} "


def worker_ended(error: BaseException) -> str | None:
    """Return the message about a loader process that was killed, or None for other errors."""
    found = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)(.*)", str(error))
    if found is None:
        return None
    signaled = re.search(r"killed by signal: (\w+)", found[2])
    how = f"was killed ({signaled[1]})" if signaled else "exited"
    return (
        f"data loading worker (process {found[1]}) {how}, perhaps out of memory or of shared "
        "memory; try fewer --workers or a smaller --batch-size; the same command continues"
    )


def _rendezvous_failure(error: Exception) -> str:
    """Return the message about ranks that cannot connect."""
    place = f"MASTER_ADDR={os.environ.get('MASTER_ADDR')} MASTER_PORT={os.environ['MASTER_PORT']}"
    if "EADDRINUSE" in str(error):
        return (
            f"{place}: another program uses the port; prefix the command with env -u MASTER_PORT, "
            "or give another port"
        )
    return f"{place}: cannot connect to the other processes: {str(error).splitlines()[0]}"


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a device or the machine ran out of memory."""
    said = ("DefaultCPUAllocator: can't allocate memory", "CUDA out of memory", "_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        part in str(error) for part in said
    )


def out_of_memory(plan: Plan) -> str:
    """Return the out-of-memory message with remedies."""
    height, width = plan.preprocessing.image_size
    return (
        f"out of memory with batches of {plan.batch_size} images of {height}x{width} pixels in "
        f"{plan.recipe.trainer.precision}; try a smaller --batch-size, with "
        "--set trainer.accumulate_batches=N for as many images per step, --precision bf16-mixed or "
        "a smaller --image-size"
    )


def _remedy(directory: RunDirectory) -> str:
    if directory.checkpoints():
        return "the last checkpoint is intact; once this is fixed, the same command continues"
    return "once this is fixed, the same command starts the run"


def _unwritable(error: Exception, folder: Path) -> str | None:
    """Return why a file could not be written, or None for other errors."""
    for cause in (error, error.__context__):
        if isinstance(cause, OSError) and cause.errno in NOT_WRITABLE:
            return cause.strerror
        if isinstance(cause, PermissionError) and str(cause.filename).startswith(f"{folder}/"):
            return cause.strerror
    return None
