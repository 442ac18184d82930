"""Detect dead ranks of a distributed job, report which one died, and stop the others."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

DONE, FAILED = b"d", b"f"
"""The last byte that a rank sends: regular end, or end after reporting an error."""

GRACE_SECONDS = 10.0
"""Time for a rank to save or report after another rank has reported an error."""

PATIENCE_SECONDS = 20.0
"""Time that a rank waits, after a failed collective, to learn that another rank died."""

leaving = threading.Lock()
"""Held by the thread that ends this process, so that only one thread reports."""


class Peers:
    """Connections from each rank to rank 0; the operating system closes those of a dead rank.

    Launchers also notice a killed rank, but do not report it in one line: torchrun after one second
    (140 lines), srun and Lightning after six (100 lines, a traceback of another rank). Between
    nodes, only the timeout of the collective remains, by default half an hour with NCCL.
    """

    def __init__(self, remedy: str, log: Callable[[str], None] | None = None) -> None:
        """Set the remedy in the message about a dead rank, and a function that logs it."""
        self._remedy, self._log = remedy, log
        self._connections: dict[int, socket.socket] = {}
        self._rank = 0

    @property
    def is_connected(self) -> bool:
        """Whether the ranks are connected."""
        return bool(self._connections)

    def connect(self) -> None:
        """Connect the ranks of the process group and start listening; all ranks must call it."""
        from torch import distributed

        self._rank, size = distributed.get_rank(), distributed.get_world_size()
        own = f"process {os.getpid()} on {os.uname().nodename}"
        with socket.create_server(("", 0), backlog=size) as server:
            told: list[tuple[str, int, bytes]] = [("", 0, b"")] * size
            mine = own, server.getsockname()[1], secrets.token_bytes(16)
            distributed.all_gather_object(told, mine)
            _, port, token = told[0]
            if self._rank == 0:
                self._accept(server, token, size)
        if self._rank > 0:
            connection = socket.create_connection((os.environ["MASTER_ADDR"], port), timeout=60)
            connection.sendall(token + self._rank.to_bytes(4))
            self._connections[0] = connection
        for peer, connection in self._connections.items():
            _keep_alive(connection)
            arguments = (peer, told[peer][0], connection)
            threading.Thread(target=self._listen, args=arguments, daemon=True).start()

    def _accept(self, server: socket.socket, token: bytes, size: int) -> None:
        server.settimeout(60)
        while len(self._connections) < size - 1:
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
        with leaving:
            # Every other rank notices the death of rank 0: only rank 1 reports it.
            if not last and self._rank in (0, 1):
                say(f"rank {peer} ({name}) died", self._remedy, self._log)
            self._send(FAILED)
            os._exit(1)

    def leave(self, exception: BaseException | None = None) -> None:
        """Notify the other ranks that this rank ends, regularly or with an error.

        A failed collective usually means that another rank died, so wait for that rank first.
        """
        if exception is None or isinstance(exception, (SystemExit, KeyboardInterrupt)):
            self._say_last(DONE)
            return
        from torch import OutOfMemoryError

        own = not isinstance(exception, RuntimeError) or isinstance(exception, OutOfMemoryError)
        if self._connections and not own:
            time.sleep(PATIENCE_SECONDS)
        self._say_last(FAILED)

    def _say_last(self, last: bytes) -> None:
        self._send(last)
        self._connections = {}

    def _send(self, last: bytes) -> None:
        for connection in self._connections.values():
            try:
                connection.sendall(last)
            except OSError:
                continue  # this is the dead rank


def say(line: str, remedy: str, log: Callable[[str], None] | None = None) -> None:
    """Report on standard error and in the log that this process ends because another one died."""
    print(f"Error: {line}; {remedy}", file=sys.stderr, flush=True)
    if log is not None:
        with suppress(OSError):
            log(f"ended: {line}")


def _keep_alive(connection: socket.socket) -> None:
    """Close the connection half a minute after the peer's node lost power or network."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
