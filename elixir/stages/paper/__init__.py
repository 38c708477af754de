"""The stages of the paper's recipe (DataElixir, arXiv 2312.11057); index, reference and write it shares."""
