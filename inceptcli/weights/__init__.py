"""Weights files: ours and how they are read."""
