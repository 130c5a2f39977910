"""CycleGAN adaptation: the paper's method."""
