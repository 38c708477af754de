"""What all long measurements share: a results log, what they were measured on, and a chart."""
