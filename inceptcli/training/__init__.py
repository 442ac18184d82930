"""Train or resume a network as a recipe defines, into a run directory."""
