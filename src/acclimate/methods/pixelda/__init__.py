"""PixelDA: a generator with noise, and a classifier that keeps its content."""
