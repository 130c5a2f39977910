"""Self-training alone: no translator, the classifier stage learns from the target."""
