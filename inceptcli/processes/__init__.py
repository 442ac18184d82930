"""Processor counts, signals, launchers, and the processes of one job."""
