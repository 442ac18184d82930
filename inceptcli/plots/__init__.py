"""Pictures and tables of runs; matplotlib is imported when something is drawn. No torch."""
