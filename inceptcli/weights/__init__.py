"""The weights file and export to other formats."""
