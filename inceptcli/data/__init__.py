"""Find labeled images: folders, label files, splits, checks."""
