"""GenToAdapt: features that a GAN draws source images from."""
