"""Who started this process and those beside it, by the environment: torchrun or srun."""

from __future__ import annotations

import os


def by_torchrun() -> bool:
    """Whether torchrun did; RANK, WORLD_SIZE and LOCAL_RANK are set then."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def by_slurm() -> bool:
    """Whether SLURM did; a shell that srun opened (jobs bash and interactive) starts no others."""
    name = os.environ.get("SLURM_JOB_NAME")
    return "SLURM_NTASKS" in os.environ and name not in ("bash", "interactive")
