"""A run opened from its path, to read and to use; nothing here trains."""
