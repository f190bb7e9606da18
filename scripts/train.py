"""Train a model by a recipe: accelerate launch scripts/train.py RECIPE.yaml [--field value ...]."""

from semart_hf.cli.command import run_command
from semart_hf.cli.train import main

if __name__ == "__main__":
    run_command(main)
