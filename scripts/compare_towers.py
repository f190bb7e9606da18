"""Compare towers under one recipe: `python scripts/compare_towers.py RECIPE --output_dir OUT [--field value ...]`."""

from semart_hf.cli.command import run_command
from semart_hf.cli.compare import main

if __name__ == "__main__":
    run_command(main)
