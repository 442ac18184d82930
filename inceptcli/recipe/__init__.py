"""Recipes: their schema, checked without torch, and the YAML files that hold them."""
