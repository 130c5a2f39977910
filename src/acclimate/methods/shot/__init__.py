"""SHOT: the source's head is kept, and the target's features are moved to it."""
