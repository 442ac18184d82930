"""Import other people's weights: recognize, complete, convert."""
