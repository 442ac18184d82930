"""A real SLURM of two nodes on this machine, all in a temporary folder."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

FIRST_JOB = 1 + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
"""Lightning takes a job's port from its number; two clusters at once must not have the same."""

CONFIGURATION = """\
ClusterName=two-nodes
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
FirstJobId={first_job}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdTimeout=20
ReturnToService=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=16 Gres=gpu:4
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=16 Gres=gpu:4
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "sinfo", "srun"]


class Cluster:
    """Its commands, and the environment in which they find it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *flags: str) -> subprocess.Popen[bytes]:
        """A program that is stopped at the end."""
        log = self._stack.enter_context((self.folder / "log").open("a"))
        command = [str(found(name)), *flags]
        process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        return process

    def start_node(self, node: str) -> None:
        """Its daemon."""
        self._nodes[node] = self.start("slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """All that runs on it, as a power cut would: its daemon, then each task and its keeper."""
        tasks = tasks_on(self, node)
        assert tasks
        self._nodes[node].kill()
        for task, keeper in tasks.items():
            for process in (keeper, task):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def ready(self) -> bool:
        """Whether both nodes wait for work."""
        return self.run("sinfo", "--noheader", "--format=%T %D") == "idle 2"

    def run(self, *command: str, **environment: str) -> str:
        done = subprocess.run(
            command, env=self.environment | environment,
            capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def job(self, number: str, field: str) -> str:
        """A field of `scontrol show job`, such as JobState."""
        shown = self.run("scontrol", "show", "job", "--oneliner", number)
        return dict(part.split("=", 1) for part in shown.split() if "=" in part)[field]

    def wait_until(self, number: str, *states: str) -> None:
        """Until the job is in one of the states; fails when it ends in another."""
        deadline = time.monotonic() + 900
        while (state := self.job(number, "JobState")) not in states:
            assert state in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"), state
            assert time.monotonic() < deadline, f"job {number} is still {state}"
            time.sleep(0.5)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """munged, slurmctld and two slurmd, stopped at the end whatever happens."""
    for program in PROGRAMS:
        if found(program) is None:
            pytest.skip(f"needs {program}: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("needs root: munged and slurmd start as root")
    stack = ExitStack()
    cluster = Cluster(tmp_path_factory.mktemp("slurm"), stack)
    folder = cluster.folder
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(secrets.token_bytes(64))
    (folder / "key").chmod(0o600)
    devices = ("null", "zero", "full", "random")  # stand for GPUs, which nobody opens
    (folder / "gres.conf").write_text(
        "".join(f"NodeName=n[1-2] Name=gpu File=/dev/{device}\n" for device in devices)
    )
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            first_job=FIRST_JOB,
            host=socket.gethostname().split(".")[0],
            user="root",
            folder=folder,
            ports=free_ports(),
        )
    )
    munge = [
        f"--{name}={folder / value}"
        for name, value in (
            ("socket", "munge.socket"), ("key-file", "key"), ("pid-file", "munged.pid"),
            ("log-file", "munged.log"), ("seed-file", "seed"),
        )
    ]  # fmt: skip
    with stack:
        cluster.start("munged", "--foreground", "--force", *munge)
        until((folder / "munge.socket").exists)
        cluster.start("slurmctld", "-D")
        for node in ("n1", "n2"):
            cluster.start_node(node)
        until(cluster.ready)
        yield cluster


def found(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")


def tasks_on(cluster: Cluster, node: str) -> dict[int, int]:
    """Process ids of this cluster's tasks on a node, each with that of the slurmstepd above it."""
    found = {}
    wanted = {f"SLURMD_NODENAME={node}", f"SLURM_CONF={cluster.folder / 'slurm.conf'}"}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            above = (Path("/proc") / str(parent) / "comm").read_text()
        except (OSError, IndexError):  # it ended meanwhile, or is not ours
            continue
        if wanted <= set(environment) and above.startswith("slurmstepd"):
            found[int(entry.name)] = parent
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while True:
        try:
            if condition():
                return
        except AssertionError:  # the controller does not answer yet
            pass
        assert time.monotonic() < deadline, "not within ten minutes"
        time.sleep(0.2)


def free_ports() -> list[int]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        return [server.getsockname()[1] for server in servers]
