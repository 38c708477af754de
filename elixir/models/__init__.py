"""Networks, their weights and their cost."""
