"""Measure a network on labeled images and report it."""
