"""From an image file to network input: decode, crop, augment, normalize; drawn shapes."""
