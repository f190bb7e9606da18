"""Write a model as ONNX graphs: `python scripts/export_onnx.py --model DIR --output DIR`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# A script's own folder comes first in the search path, where evaluate.py would stand in for the library of that name.


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's choices."""
    parser = argparse.ArgumentParser(
        description="Write a model as ONNX graphs for picture and text, picture alone and text alone, and check them."
    )
    parser.add_argument("--model", required=True, help="folder of a trained model, or its name on the Hub")
    parser.add_argument("--output", required=True, type=Path, help="folder for the graphs, processor and labels")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)

    # After the command line is understood, so that --help and a wrong flag answer at once.
    from transformers import AutoModel, AutoProcessor

    import semart_hf  # noqa: F401  registers the model's classes
    from semart_hf.publishing.onnx_export import export_onnx

    model = AutoModel.from_pretrained(options.model, dtype="float32", trust_remote_code=False)
    processor = AutoProcessor.from_pretrained(options.model, trust_remote_code=False)
    description = export_onnx(model, processor, options.output)
    print(f"{'graph':18}{'MB':>8}{'difference':>14}{'torch ms':>12}{'onnxruntime ms':>18}")
    for name, graph in description["graphs"].items():
        size = (options.output / graph["file"]).stat().st_size / 1e6
        times = f"{graph['torch_ms']:12.1f}{graph['onnxruntime_ms']:18.1f}"
        print(f"{name:18}{size:8.1f}{graph['max_difference']:14.1e}{times}")
    print(f"Written to {options.output}; outputs, one row a painting: {', '.join(description['outputs'])}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
