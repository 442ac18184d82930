"""Commands as Python functions: load, train, evaluate, summarize, network."""
