"""Report pages and pictures for people."""
