"""Readers of other file formats; no pickle is executed."""
