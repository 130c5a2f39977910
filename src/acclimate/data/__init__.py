"""Images: domains, arrays on disk, downloads, and the one place where images change size or range."""
