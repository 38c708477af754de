"""Python objects: torch datasets, arrays."""
