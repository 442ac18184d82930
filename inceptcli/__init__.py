"""Inception-v4, Inception-ResNet-v1 and -v2 (arXiv 1602.07261) on the command line."""
