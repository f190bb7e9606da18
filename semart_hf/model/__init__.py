"""The model, processor and pipeline: the files that are copied to the Hub with the weights, flat."""
