"""The parts of scripts/benchmark.py: the yardstick, the data that both sides read, and what is measured."""
