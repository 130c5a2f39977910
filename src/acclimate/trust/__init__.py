"""What can be said without a target label: pure functions of features and probabilities; no run, no training."""
