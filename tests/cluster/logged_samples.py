"""`inceptcli` that notes which training images each rank gives to the network.

    python -m tests.cluster.logged_samples FILE train ...

Appends a line `rank epoch name` to FILE for each.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from inceptcli.cli.app import app
from inceptcli.data.loading.dataset import Sample, TrainingDataset


def main(log: Path, arguments: list[str]) -> None:
    """Run, noting."""
    original = TrainingDataset.__getitem__

    def noted(self: TrainingDataset, key: tuple[int, int]) -> Sample:
        sample = original(self, key)
        line = f"{os.environ['SLURM_PROCID']} {key[0]} {self.source.name(sample.number)}\n"
        with log.open("a") as file:
            file.write(line)
        return sample

    TrainingDataset.__getitem__ = noted  # type: ignore[method-assign]
    app(arguments)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
