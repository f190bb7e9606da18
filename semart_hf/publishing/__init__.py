"""A checkpoint and its results become a Hub repository."""
