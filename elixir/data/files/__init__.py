"""Image files in folders: class folders, or labels in a list."""
