"""Prepare a catalogue of paintings: `python scripts/prepare_data.py --release DIR --output_dir OUT`."""

from semart_hf.cli.command import run_command
from semart_hf.cli.prepare import main

if __name__ == "__main__":
    run_command(main)
