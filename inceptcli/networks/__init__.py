"""Networks from their description: torch module, ONNX graph, summary, comparison."""
