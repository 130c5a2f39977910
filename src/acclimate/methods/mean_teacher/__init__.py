"""Self-ensembling: a student agrees with its running average on the target."""
