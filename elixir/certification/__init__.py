"""Randomized smoothing: how far an image may be changed before a smoothed classifier changes its mind."""
