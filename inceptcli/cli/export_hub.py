"""`inceptcli export --to hub`: a folder to upload to the Hugging Face hub."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from inceptcli.errors import UsageError, UserError
from inceptcli.progress.display import Display

if TYPE_CHECKING:
    from inceptcli.evaluation.model_card import Trained
    from inceptcli.prediction.checked_export import Check
    from inceptcli.weights.metadata import WeightsMetadata

UNKNOWN = "unknown"
"""The hub's own word for a license that nobody has stated."""

LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


class Card(NamedTuple):
    """The flags --license and --measures."""

    license_id: str | None
    measures: Path | None

    def check(self, to: str) -> None:
        """UsageError for a target without a model card, and for what is no license's name."""
        for flag, value in (("--license", self.license_id), ("--measures", self.measures)):
            if value is not None and to != "hub":
                raise UsageError(f"{flag} {value} is for --to hub")
        if self.license_id is not None and not LICENSE.fullmatch(self.license_id):
            raise UsageError(
                f"--license {self.license_id}: must be a license's name on the hub, such as "
                "apache-2.0, mit or cc-by-4.0"
            )


def check_folder(output: Path) -> None:
    """UsageError where --output is neither new nor an empty folder."""
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"--output {output}: --to hub writes a folder; name one that is not there")
    if output.is_dir() and any(output.iterdir()):
        raise UsageError(f"--output {output}: is not empty; give a new or empty folder")


def export_hub(
    weights: str, file: Path, output: Path, images: Sequence[Path], card: Card, display: Display
) -> Check:
    """Write the folder, compare what timm loads from it, and add the model card.

    Raises UserError when timm is missing, for what cannot be exported or what differs.
    """
    from inceptcli.evaluation.measures import measures_in, measures_of_run
    from inceptcli.evaluation.model_card import model_card
    from inceptcli.weights.exporting import lacking_in_timm
    from inceptcli.weights.file import read_metadata
    from inceptcli.weights.hub_folder import without_places

    metadata = read_metadata(file)
    lacking = lacking_in_timm(metadata.network)
    if lacking is None and find_spec("timm") is None:
        raise UserError("--to hub needs timm; pip install 'inceptcli[timm]'")
    trained = _trained(Path(weights), metadata)
    measures = measures_of_run(metadata, trained.validation)
    if card.measures is not None:
        measures = measures_in(card.measures, metadata)

    from inceptcli.prediction.checked_export import export as write

    with display.task("write and compare", unit=""):
        check = write(file, "hub", output, images)
    license_id = card.license_id or UNKNOWN
    text = model_card(without_places(metadata), lacking is None, license_id, measures, trained)
    (output / "README.md").write_text(text, "utf-8", "backslashreplace")
    if lacking is not None:
        display.say(f"{lacking}: the folder holds a weights file of inceptcli, for it alone")
    if measures is None:
        display.say("no measures are recorded; --measures FILE takes those of eval --format json")
    if card.license_id is None:
        display.say("license: unknown; --license states it")
    return check


def upload_command(output: Path) -> str:
    """How to upload the folder with the hub's own client."""
    return f"hf upload OWNER/NAME {shlex.quote(str(output))}"


def _trained(run: Path, metadata: WeightsMetadata) -> Trained:
    """How many images a run trained and validated on, but for those it could not read."""
    from inceptcli.data.identity import KeptIdentity
    from inceptcli.evaluation.model_card import Trained
    from inceptcli.training.skipped import read_skipped

    data = (metadata.recipe or {}).get("data")
    if not isinstance(data, dict):
        return Trained()
    if data.get("path") is None:
        sizes = [data.get(name) for name in ("train_size", "val_size")]
        return Trained(*(size if isinstance(size, int) else None for size in sizes))
    if not run.is_dir():
        return Trained()
    try:
        parts = [image.part for image in KeptIdentity(run / "data.jsonl.gz").images]
        skipped = [part for part, _ in read_skipped(run / "skipped.csv")]
    except (UserError, OSError, ValueError, TypeError, KeyError):
        return Trained()
    return Trained(*(parts.count(part) - skipped.count(part) for part in ("train", "val")))
