"""Readers of a network's description: torch module, ONNX graph, summary, difference."""
