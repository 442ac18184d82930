"""The recipe's schema, checked without torch, and its YAML files."""
