"""Descriptions of the networks: one file per network, one function per figure of the paper."""
