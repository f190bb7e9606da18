"""Write a model as ONNX graphs: `python scripts/export_onnx.py --model DIR --output DIR`."""

from semart_hf.cli.command import run_command
from semart_hf.cli.export import main

if __name__ == "__main__":
    run_command(main)
