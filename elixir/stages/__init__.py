"""The stages, one to a file; `pipelines/dataelixir.toml` has the order in which a sample meets them."""
