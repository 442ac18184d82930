"""From crops to logits: ONNX Runtime on a CPU, torch on accelerators."""
