"""Which labels are under attack, and which of their samples: numpy and torch in, decisions out."""
