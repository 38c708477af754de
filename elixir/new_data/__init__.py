"""New images judged with the models and triggers of a finished run."""
