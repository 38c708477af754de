"""Labelled image datasets: where they come from and where they go."""
