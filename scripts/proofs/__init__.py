"""The parts of scripts/prove.py: trainings by a recipe, what they are compared with, and the cards."""
