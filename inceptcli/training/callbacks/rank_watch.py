"""End all ranks at once when one dies, with one line that names it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from lightning.pytorch import Callback, LightningModule, Trainer

from inceptcli.errors import UserError
from inceptcli.processes.launchers import NEW_FOLDER
from inceptcli.processes.peers import GRACE_SECONDS, Peers, leaving, say
from inceptcli.processes.signals import EXIT_STOPPED
from inceptcli.training.failures import worker_ended
from inceptcli.training.run_directory import RunDirectory

Log = Callable[[str], None]

REMEDY = "the same command continues the run"


class RankWatch(Callback):
    """Callback that watches the other ranks from the first image that a rank reads."""

    def __init__(self, directory: RunDirectory) -> None:
        self._peers = Peers(REMEDY, directory.log_from_any_rank)
        self.children: list[subprocess.Popen[bytes]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Connect to the other ranks."""
        if trainer.world_size > 1:
            self._peers.connect()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Disconnect from the other ranks."""
        self._peers.leave()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Send the error to the other ranks and disconnect."""
        if not self._peers.is_connected:  # nobody tells ranks that are still starting
            children, self.children[:] = [*self.children], []
            for child in children:
                child.kill()
        own = worker_ended(exception)
        self._peers.leave(exception if own is None else UserError(own))


def start_ranks(trainer: Trainer, directory: RunDirectory) -> None:
    """Start this node's other ranks, unless torchrun or srun did, and watch them in a thread.

    Lightning's own launcher kills this process without a message within five seconds after another
    rank exits, even with 75. It starts no ranks if LOCAL_RANK is set.
    """
    launcher = trainer.strategy.launcher  # ddp_spawn's has no cluster environment
    environment = getattr(launcher, "cluster_environment", None)
    if environment is None or environment.creates_processes_externally:
        return
    os.environ |= {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(environment.node_rank()),
        "WORLD_SIZE": str(trainer.world_size),
        "LOCAL_RANK": "0",
    }
    command = [sys.executable, *sys.orig_argv[1:]]
    shared = os.environ | {NEW_FOLDER: str(directory.path)}
    (watch,) = (callback for callback in trainer.callbacks if isinstance(callback, RankWatch))  # type: ignore[attr-defined]
    children = watch.children
    for rank in range(1, trainer.num_devices):
        children.append(subprocess.Popen(command, env=shared | {"LOCAL_RANK": str(rank)}))
    arguments = (directory.log_from_any_rank, children)
    threading.Thread(target=_watch_children, args=arguments, daemon=True).start()


def _watch_children(log: Log, children: Sequence[subprocess.Popen[bytes]]) -> None:
    codes: list[int | None] = [None]
    while None in codes:
        codes = [child.poll() for child in children]
        for number, code in enumerate(codes, start=1):
            if code not in (None, 0, EXIT_STOPPED):
                _leave_without(log, children, number, code)
        time.sleep(1)


def _leave_without(
    log: Log, children: Sequence[subprocess.Popen[bytes]], number: int, code: int
) -> NoReturn:
    if code > 0:  # the rank reports its own error
        time.sleep(GRACE_SECONDS)
    with leaving:
        if code < 0:
            rank = int(os.environ.get("NODE_RANK", "0")) * (len(children) + 1) + number
            killed_by = signal.Signals(-code).name
            say(
                f"rank {rank} (process {children[number - 1].pid}) was killed by {killed_by}",
                REMEDY,
                log,
            )
        for child in children:
            child.kill()
        os._exit(max(code, 1))
