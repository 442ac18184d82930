"""From a path to named probabilities."""
