"""Recipes: TOML files, read by `elixir.recipe`."""
