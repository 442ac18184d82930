"""Import of weights from other libraries: recognition, completion, conversion."""
