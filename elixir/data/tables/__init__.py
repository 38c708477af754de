"""Tables: Hugging Face datasets and parquet files."""
