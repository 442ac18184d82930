"""From paths to class probabilities; export to ONNX."""
