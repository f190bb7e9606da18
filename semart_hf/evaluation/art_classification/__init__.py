"""The folder that `evaluate.load` is pointed at."""
