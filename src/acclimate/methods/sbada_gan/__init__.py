"""SBADA-GAN: generators both ways and self-labels."""
