"""The networks, one file each, one builder per figure of the paper."""
