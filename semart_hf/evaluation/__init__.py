"""A checkpoint becomes numbers and pictures."""
