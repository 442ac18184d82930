"""Int8 networks: ranges, quantized graph, comparison with float32. No torch."""
