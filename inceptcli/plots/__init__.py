"""Plots and tables of runs, networks and the paper's curves. No torch."""
