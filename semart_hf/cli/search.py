"""Find paintings: semart-hf search INDEX "a storm at sea" | picture.jpg | --like ROW [--where FILTER]."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semart_hf.catalogue.picture_files import ENDINGS
from semart_hf.documents.table import Table
from semart_hf.files import write_text

from .command import command, load_classifier, parser_of, print_table, usable_device

EPILOG = """A filter names columns of the catalogue, or what the model says (school_suggested, school_confidence; a
task's own name where the catalogue has no such column): "school = 'Dutch' and not (timeframe < '1601' or type in
('genre', 'portrait'))". Values in quotes are compared as texts, others as numbers; a column whose name has blanks
stands in double quotes."""


@command("search")
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("search", EPILOG)
    add = parser.add_argument
    add("index", help="what `semart-hf index` has written")
    add("query", nargs="?", help="words, or a picture's file where it ends like one (.jpg, …)")
    add("--text", help="words, whatever they are; with --image both together are looked for")
    add("--image", help="a picture's file")
    add("--like", type=int, metavar="ROW", help="more like this row of the catalogue, counted from 0")
    add("--where", metavar="FILTER", help="only paintings that pass; see below")
    add("--top_k", type=int, default=10, help="paintings shown (default: 10)")
    add("--exact", action="store_true", help="compare every painting, without the approximate index")
    add("--output", type=Path, metavar="OUT", help="OUT.jsonl: a line each; OUT.html: a page with pictures")
    add("--model", help="folder or name of the index's model, where it is elsewhere now")
    add("--device", type=usable_device, help="cpu, cuda, … (default: the GPU where there is one)")
    options = parser.parse_args(arguments)
    if options.query is not None:
        if options.text is not None or options.image is not None:
            parser.error("got a query and --text or --image; give both as --text and --image")
        setattr(options, "image" if options.query.lower().endswith(ENDINGS) else "text", options.query)
    if (options.like is not None) == (options.text is not None or options.image is not None):
        parser.error("give words, a picture, or both; or --like ROW")
    if options.output is not None and options.output.suffix.lower() not in (".jsonl", ".html"):
        parser.error(f"got --output {options.output}; allowed are names that end in .jsonl or .html")
    from semart_hf.search.filters import parse_filter
    from semart_hf.search.vector_index import SearchIndex, check_weights, query_vector

    index = SearchIndex(options.index)
    if options.where is not None:
        parse_filter(options.where, index.fields)  # before the model, which takes longer
    query: Any = options.like
    if query is None:
        from semart_hf.model.loading_semart import digest_of_weights

        name = options.model or index.about["model"]
        if options.model is None and Path(name).is_absolute() and not Path(name).is_dir():
            raise ValueError(f"The index is by the model {name}, which is not there any more. Give it as --model.")
        classify = load_classifier(name, device=options.device)
        check_weights(index.about, index.address, name, digest_of_weights(classify.model))
        query, notices = query_vector(classify, options.text, options.image)
        for notice in [*notices, *filter(None, [classify.model.config.training_notice])]:
            print(notice, file=sys.stderr)
    hits = index.search(query, top_k=options.top_k, where=options.where, exact=options.exact)
    if not hits:
        raise ValueError("No painting passes the filter. Ask for more with another --where.")
    show(options, index, hits)


def show(options: argparse.Namespace, index: Any, hits: Sequence[Any]) -> None:
    """Print what was found, or write it to a file."""
    from semart_hf.search.search_page import hit_json, label_of, title_of, write_results

    if options.output is None:
        rows = []
        for hit in hits:
            labels = [label_of(index, hit, task) for task in index.tasks]
            picture = hit.cells.get(index.about["image_column"] or "", "–")
            rows.append([str(hit.row), f"{hit.score:.3f}", picture[-40:], title_of(hit)[:60], *labels])
        header = ["row", "score", "picture", "title", *index.tasks]
        print_table(Table(header, rows, num_text_columns=len(header)))
        print("Labels are the catalogue's; those with a percentage are the model's.")
    elif options.output.suffix.lower() == ".html":
        asked = options.text or (f"More like row {options.like}" if options.like is not None else "A picture")
        write_results(options.output, index, hits, asked, options.where)
    else:
        write_text(options.output, "".join(json.dumps(hit_json(hit), ensure_ascii=False) + "\n" for hit in hits))
    if options.output is not None:
        print(f"{len(hits)} paintings in {options.output}")
