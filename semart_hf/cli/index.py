"""Embed a catalogue, to be searched: semart-hf index CATALOGUE --model DIR --output INDEX."""

import sys
from functools import partial
from pathlib import Path

from semart_hf.memory import freed_memory_kept

from .command import add_reading, answering, command, parser_of, usable_device

EPILOG = """The same command continues what was interrupted, and brings an index up to date with its catalogue: rows
that are new or changed are embedded, rows that are gone are removed. Under `accelerate launch -m semart_hf.cli.index`
processes share the work."""


@command("index")
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("index", EPILOG)
    add = parser.add_argument
    add("catalogue", help="CSV, TSV, JSON lines, Parquet or Excel file; folder of pictures or data; or a Hub name")
    add("--model", required=True, help="folder of a trained model, or its name on the Hub")
    add("--output", required=True, metavar="INDEX", help="a folder, or object storage as s3://bucket/index")
    add("--batch_size", type=int, default=8, help="paintings at a time (default: 8)")
    add("--device", type=usable_device, help="cpu, cuda, … (default: the GPU where there is one)")
    add_reading(parser)
    options = parser.parse_args(arguments)
    from semart_hf.search.vector_index import connect

    connect(options.output, creates=True)  # without the library nothing is read
    from semart_hf.search.indexing import describe_index, embed_paintings, index_catalogue

    classify, source, state = answering(options, has_suggestions=True)
    name = str(Path(options.model).resolve()) if Path(options.model).is_dir() else options.model
    embed = partial(embed_paintings, classify, batch_size=options.batch_size)
    made_of = describe_index(source, classify.model, name)
    with freed_memory_kept():
        counts, problems, about = index_catalogue(source, options.output, embed, made_of, state)
    if not state.is_main_process:
        return
    for problem in problems:
        print(problem, file=sys.stderr)
    print(", ".join(f"{counts[name]:,} rows {name}" for name in ("added", "removed", "kept", "failed")))
    if recall := about["recall"]:
        how = f"{recall['num_queries']} of its own rows as queries, {recall['probes']} partitions looked into"
        print(f"Approximate index: it finds {recall['recall_at_10']:.1%} of the ten nearest ({how}).")
    if not classify.model.config.contrastive:
        untrained = "This model was trained without contrastive_weight"
        print(f"{untrained}: words find paintings by their texts alone.", file=sys.stderr)
    if not about["num_rows"]:
        raise ValueError(f"None of {counts['failed']:,} rows could be read. See the reasons above.")
    print(f"Index of {about['num_rows']:,} paintings: {options.output}")


if __name__ == "__main__":
    main()
