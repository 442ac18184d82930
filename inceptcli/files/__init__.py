"""Atomic writes, file locks, the download cache and limits on input files."""
