"""Write a model as ONNX graphs: semart-hf export --model DIR --output DIR."""

from pathlib import Path

from semart_hf.documents.table import Table

from .command import command, load_model, parser_of, print_table


@command("export")
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("export", "Picture and text, picture alone and text alone have a graph each, which is checked.")
    parser.add_argument("--model", required=True, help="folder of a trained model, or its name on the Hub")
    parser.add_argument("--output", required=True, type=Path, help="folder for the graphs, processor and labels")
    options = parser.parse_args(arguments)
    from semart_hf.publishing.onnx_export import export_onnx

    model, processor = load_model(options.model)
    description = export_onnx(model.float(), processor, options.output)
    rows = [
        (name, f"{(options.output / graph['file']).stat().st_size / 1e6:.1f}", f"{graph['max_difference']:.1e}")
        for name, graph in description["graphs"].items()
    ]
    print_table(Table(("graph", "MB", "difference from torch"), rows))
    print(f"Written to {options.output}; outputs, one row a painting: {', '.join(description['outputs'])}")


if __name__ == "__main__":
    main()
