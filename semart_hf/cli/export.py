"""Write a model as ONNX graphs: semart-hf export --model DIR --output DIR."""

from pathlib import Path

from semart_hf.documents.table import DASH, Table

from .command import command, load_model, parser_of, print_table, split_name


@command("export")
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("export", "Picture and text, picture alone and text alone have a graph each, which is checked.")
    parser.add_argument("--model", required=True, help="folder of a trained model, or its name on the Hub")
    parser.add_argument("--output", required=True, type=Path, help="folder for the graphs, processor and labels")
    precision = "int8: linear layers in 8-bit integers, smaller, and faster on a CPU without bf16 (default: fp32)"
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help=precision)
    parser.add_argument("--data", help="paintings to compare the graphs' answers with the model's on")
    parser.add_argument("--split", type=split_name, default="test", help="of --data (default: test)")
    options = parser.parse_args(arguments)
    if not options.data:
        parser.refuse(options, ("split",), "without --data")
    from semart_hf.evaluation.vocabularies import load_split
    from semart_hf.publishing.onnx_export import export_onnx

    model, processor = load_model(options.model)
    where = options.model, options.data, options.split, model.config.tasks
    paintings = load_split(*where, common_labels=True) if options.data else None
    is_int8 = options.precision == "int8"
    description = export_onnx(model.float(), processor, options.output, int8=is_int8, paintings=paintings)
    columns, rows = ["graph", "MB", "difference from torch"], []
    for name, graph in description["graphs"].items():
        size = (options.output / graph["file"]).stat().st_size
        rows.append([name, f"{size / 1e6:.1f}", f"{graph['max_difference']:.1e}"])
        if (found := graph.get("agreement")) is not None:
            forms = {"rows": "{:,}", "same_answers": "{:.1%}", "confidence_difference": "{:.4f}"}
            rows[-1] += [form.format(found[key]) if found else DASH for key, form in forms.items()]
    columns += ["paintings", "same answers", "confidence difference"] if options.data else []
    print_table(Table(columns, rows))
    print(f"Written to {options.output}; outputs, one row a painting: {', '.join(description['outputs'])}")
