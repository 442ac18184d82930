"""Readers of other file formats, without executing pickles."""
