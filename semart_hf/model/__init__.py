"""The model, processor and pipeline: the files that travel to the Hub with the weights, flat and self-contained."""
