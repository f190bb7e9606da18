"""Score a model on a split: semart-hf evaluate --model DIR --data DIR --split test --output_dir OUT."""

from semart_hf.cli.command import run_command
from semart_hf.cli.evaluate import main

if __name__ == "__main__":
    run_command(main)
