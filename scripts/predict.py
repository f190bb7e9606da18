"""Classify paintings: `python scripts/predict.py --model DIR --input FILE_OR_FOLDER [--text "…"]`."""

from semart_hf.cli.command import run_command
from semart_hf.cli.predict import main

if __name__ == "__main__":
    run_command(main)
