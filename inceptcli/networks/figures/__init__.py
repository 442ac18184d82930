"""Networks as data: one file per network, one builder per figure of the paper."""
