"""pix2pix: translation learnt from pairs, an upper bound."""
