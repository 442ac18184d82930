"""A rank that dies takes the others down at once, with one line that names it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import NoReturn

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies.launchers import subprocess_script

from inceptcli.training.stopping import EXIT_STOPPED

DONE, FAILED = b"d", b"f"
"""The last byte that a rank sends: it leaves in good order; it has reported an error itself."""

GRACE_SECONDS = 10.0
"""How long a rank may go on, to save or to report the same, after another has reported an error."""

PATIENCE_SECONDS = 20.0
"""How long a rank whose exchange with the others failed waits to hear that one of them is gone."""

_leaving = threading.Lock()


class RankWatch(Callback):
    """Holds a connection from each rank to rank 0 while training; the system closes a dead one's.

    Without it the others wait in a collective: minutes to half an hour with NCCL; gloo fails at
    once, with a traceback on each rank that names none.
    """

    def __init__(self) -> None:
        self._connections: dict[int, socket.socket] = {}
        self._rank = 0
        # Lightning's own observer kills all processes without a word.
        vars(subprocess_script)["_launch_process_observer"] = watch_children

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Connect, and listen from now on."""
        if trainer.world_size == 1:
            return
        self._rank = trainer.global_rank
        names: list[str | None] = [None] * trainer.world_size
        own = f"process {os.getpid()} on {os.uname().nodename}"
        torch.distributed.all_gather_object(names, own)
        with socket.create_server(("", 0), backlog=trainer.world_size) as server:
            mine = (server.getsockname()[1], secrets.token_bytes(16))
            port, token = trainer.strategy.broadcast(mine)
            if self._rank == 0:
                self._accept(server, token, trainer.world_size)
        if self._rank > 0:
            connection = socket.create_connection((os.environ["MASTER_ADDR"], port), timeout=60)
            connection.sendall(token + self._rank.to_bytes(4))
            self._connections[0] = connection
        for peer, connection in self._connections.items():
            _keep_alive(connection)
            arguments = (peer, str(names[peer]), connection)
            threading.Thread(target=self._listen, args=arguments, daemon=True).start()

    def _accept(self, server: socket.socket, token: bytes, world_size: int) -> None:
        server.settimeout(60)
        while len(self._connections) < world_size - 1:
            connection, _ = server.accept()
            connection.settimeout(60)
            hello = connection.recv(20, socket.MSG_WAITALL)
            if secrets.compare_digest(hello[:16], token):
                self._connections[int.from_bytes(hello[16:])] = connection

    def _listen(self, peer: int, name: str, connection: socket.socket) -> None:
        try:
            last = connection.recv(1)
        except OSError:
            last = b""
        if last == FAILED:
            time.sleep(GRACE_SECONDS)
        if last == DONE or not self._connections:
            return
        with _leaving:
            # When rank 0 is gone every other rank sees it: the first of them says so.
            if not last and self._rank in (0, 1):
                _say(f"rank {peer} ({name}) is gone")
            self._send(FAILED)
            os._exit(1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave in good order."""
        self._leave(DONE)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Tell the others; but an exchange that failed is the echo of another rank's end."""
        if isinstance(exception, (SystemExit, KeyboardInterrupt)):
            self._leave(DONE)
            return
        own = not isinstance(exception, RuntimeError)
        if self._connections and not (own or isinstance(exception, torch.OutOfMemoryError)):
            time.sleep(PATIENCE_SECONDS)
        self._leave(FAILED)

    def _leave(self, last: bytes) -> None:
        self._send(last)
        self._connections = {}

    def _send(self, last: bytes) -> None:
        for connection in self._connections.values():
            try:
                connection.sendall(last)
            except OSError:
                continue  # it is the one that is gone


def watch_children(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Watch, in a thread, the ranks that Lightning started from this process, this node's first."""
    threading.Thread(target=_watch_children, args=(children,), daemon=True).start()


def _watch_children(children: Sequence[subprocess.Popen[bytes]]) -> None:
    codes: list[int | None] = [None]
    while None in codes:
        codes = [child.poll() for child in children]
        for number, code in enumerate(codes, start=1):
            if code not in (None, 0, EXIT_STOPPED):
                _leave_without(children, number, code)
        time.sleep(1)


def _leave_without(children: Sequence[subprocess.Popen[bytes]], number: int, code: int) -> NoReturn:
    if code > 0:  # it has said why itself
        time.sleep(GRACE_SECONDS)
    with _leaving:
        if code < 0:
            rank = int(os.environ.get("NODE_RANK", "0")) * (len(children) + 1) + number
            killed_by = signal.Signals(-code).name
            _say(f"rank {rank} (process {children[number - 1].pid}) was killed by {killed_by}")
        for child in children:
            child.kill()
        os._exit(max(code, 1))


def _say(line: str) -> None:
    print(f"Error: {line}; the same command continues the run", file=sys.stderr, flush=True)


def _keep_alive(connection: socket.socket) -> None:
    """Half a minute after a node lost its power or network, the connection ends too."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
