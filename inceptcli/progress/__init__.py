"""Progress reporting: bars on a terminal, lines in a log."""
