"""What tells poisoned samples from others, and how it is weighed."""
