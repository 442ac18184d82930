"""Figures of TensorFlow itself, and tests that hold this program to them without TensorFlow."""
