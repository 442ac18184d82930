"""The processes of a run."""

from __future__ import annotations

from pathlib import Path


def processes_of(run: Path) -> dict[int, int]:
    """Process id -> local rank of the ranks that train in a folder."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile, or is not ours
            continue
        if str(run).encode() in arguments and b"torch.distributed.run" not in arguments:
            ranks = [part for part in environment if part.startswith(b"LOCAL_RANK=")]
            found[int(entry.name)] = int(ranks[0].partition(b"=")[2]) if ranks else 0
    return found


def imports_torch(process: int) -> bool:
    return "libtorch" in Path(f"/proc/{process}/maps").read_text()
