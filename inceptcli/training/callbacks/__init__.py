"""Lightning callbacks: checkpoints, metrics, averaging, guards."""
