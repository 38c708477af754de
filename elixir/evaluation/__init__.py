"""Experiments: poison a dataset, clean it, train on the outcome, and compare with the truth."""
