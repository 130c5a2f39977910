"""CyCADA: CycleGAN that keeps what a source classifier sees, then ADDA."""
