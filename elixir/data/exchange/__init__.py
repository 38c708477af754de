"""Samples of a run for other programs: labelling tools, dataset viewers, spreadsheets."""
