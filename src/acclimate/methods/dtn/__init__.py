"""The domain transfer network."""
