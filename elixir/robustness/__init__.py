"""Adversarial perturbations, and what is left of them behind a purifier."""
