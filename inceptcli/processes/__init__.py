"""Usable cores, signals, launchers, and the processes of a distributed job."""
