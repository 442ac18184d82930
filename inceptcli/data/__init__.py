"""Images in: find, decode, crop, draw, augment, order."""
