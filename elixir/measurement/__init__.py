"""What all long measurements share: a journal, what they were measured on, and a chart."""
