"""Training batches: datamodule, sampler, worker processes."""
