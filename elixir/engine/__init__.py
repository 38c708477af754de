"""One run: its folder, the columns of its stages, and the manifest of what became of every sample."""
