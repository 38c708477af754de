"""What long measurements share: their folder and results log, the machine, charts and Markdown tables."""
