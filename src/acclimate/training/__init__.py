"""The one training loop and what it stands on: engine, batches, checkpoints, several processes, compilation, losses."""
