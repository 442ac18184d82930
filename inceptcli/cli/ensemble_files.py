"""From the names of weights to the files of networks that answer together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inceptcli.progress.display import Display

if TYPE_CHECKING:
    from inceptcli.data.crops import Crops
    from inceptcli.weights.metadata import WeightsMetadata


def ensemble_files(
    names: Sequence[str], crops: Crops, display: Display
) -> tuple[list[Path], list[WeightsMetadata]]:
    """The files, fetched if they are published, and what they say of themselves; no torch.

    Raises UsageError when they cannot answer together, UserError when one cannot be had or read.
    """
    from inceptcli.prediction.ensemble import check_ensemble
    from inceptcli.weights.file import read_metadata
    from inceptcli.weights.published import find

    files = [find(name, None if display.quiet else display.say) for name in names]
    metadata = [read_metadata(file) for file in files]
    check_ensemble(list(zip(names, metadata, strict=True)), crops)
    return files, metadata
