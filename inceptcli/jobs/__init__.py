"""Commands as Python functions: load, train, evaluate, calibrate, summarize, network."""
