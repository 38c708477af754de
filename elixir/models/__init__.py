"""Networks, their weights and their training."""
