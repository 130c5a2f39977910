"""ADDA: a target encoder learns to pass for the source's."""
