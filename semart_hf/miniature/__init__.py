"""The embedded catalogue, painted by program, with known ceilings."""
