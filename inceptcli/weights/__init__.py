"""Our weights file, and export to other formats."""
