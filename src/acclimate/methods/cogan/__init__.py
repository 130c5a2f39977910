"""CoGAN: coupled GANs with shared layers."""
