"""Purifiers remove noise, and with it triggers, from images."""
