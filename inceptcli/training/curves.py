"""Draws the run directory's curves.png when an epoch ends."""

from __future__ import annotations

from collections.abc import Callable

from lightning.pytorch import Callback, LightningModule, Trainer

from inceptcli.training.run_directory import RunDirectory


class Curves(Callback):
    """Stands after Recorder, whose metrics.csv is what is drawn. Trouble is said once."""

    def __init__(self, directory: RunDirectory, say: Callable[[str], None]) -> None:
        self.directory, self.say = directory, say
        self._failed = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw all epochs so far."""
        if not self.directory.writes:
            return
        try:
            from inceptcli.plots.run_curves import draw_run_curves

            draw_run_curves(self.directory.path)
        except Exception as error:  # no picture is worth a run
            if not self._failed:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                line = f"curves.png could not be drawn: {reason}; training goes on"
                self.directory.log(line)
                self.say(line)
            self._failed = True
