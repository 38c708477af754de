"""Purifiers: what takes noise, and with it triggers, out of images."""
