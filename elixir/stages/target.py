"""Which labels are under attack; says "none" on clean data."""
