"""Publish a model: `python scripts/push_to_hub.py --model DIR --repo_id USER/NAME [--results FILE …] [--push]`."""

from semart_hf.cli.command import run_command
from semart_hf.cli.push import main

if __name__ == "__main__":
    run_command(main)
