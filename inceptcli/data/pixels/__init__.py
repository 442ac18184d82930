"""Turn image files into network input: decode, crop, augment, normalize; draw shapes."""
