"""Score a model on a split: semart-hf evaluate --model DIR --data DIR --split test --output_dir OUT."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from .command import command, load_model, parser_of, print_table, split_name, usable_device


@command("evaluate")
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("evaluate")
    add = parser.add_argument
    add("--model", required=True, help="folder of a trained model, or its name on the Hub")
    add("--data", required=True, help="SemArt release, prepared folder, CSV file, name on the Hub, or URL")
    add("--split", type=split_name, default="test", help="train, validation or test (default: test)")
    add("--output_dir", required=True, type=Path, help="where the results are written")
    add("--calibrate", type=split_name, metavar="SPLIT", help="to fit temperatures on, which config.json keeps")
    add("--compare", type=Path, metavar="DIR", help="an --output_dir of another model on the same paintings")
    add("--text_columns", nargs="+", metavar="COLUMN", help="of the text (default: the recipe's, else DESCRIPTION)")
    add("--map_labels", type=Path, metavar="FILE", help='JSON: {"school": {"Flemish": "Dutch"}}')
    add("--common_labels", action="store_true", help="score only the paintings whose label the model knows")
    add("--unseen_by", metavar="COLUMN", help="also score those whose author, or other column, train does not have")
    add("--mask_label_words", action="store_true", help="also score without words that name labels, time and painter")
    add("--no_report", action="store_true", help="leave out the figures and report.html")
    add("--batch_size", type=int, default=32, help="paintings at a time (default: 32)")
    add("--num_workers", type=int, default=0, help="processes that read pictures (default: none)")
    add("--device", type=usable_device, help="cpu, cuda, … (default: the GPU where there is one)")
    add("--precision", choices=("auto", "bf16", "fp32"), default="auto", help="auto: bf16 where the hardware has it")
    options = parser.parse_args(arguments)
    if options.compare and options.compare.resolve() == options.output_dir.resolve():
        raise ValueError(f"Got {options.compare} as --compare and as --output_dir. Two folders are needed.")
    if options.calibrate and not Path(options.model, "config.json").is_file():
        raise ValueError(
            f"Got the model {options.model}, which is no local folder with a config.json. Temperatures are stored in "
            "one. Download the model first (`hf download REPO --local-dir DIR`) and pass --model DIR."
        )

    from semart_hf.documents import result_tables
    from semart_hf.evaluation.calibration import store_calibration
    from semart_hf.evaluation.results import evaluation_folder

    with evaluation_folder(options.output_dir) as place:
        results, config = evaluate(options, place)
    # The last act: a model is calibrated by an evaluation that has succeeded, or stays as it was.
    if options.calibrate:
        store_calibration(options.model, config)
    title = f"{results['model']} on {results['num_rows']} paintings ({results['split']})"
    print_table(result_tables.score_table(results, result_tables.SHORT), title)
    print_table(result_tables.modality_table(results), "By what the model is shown")
    if "retrieval" in results:
        print_table(result_tables.retrieval_table(results["retrieval"]), "Search: what is found by what")
    if "tasks" in results.get("unseen", {}):
        print_table(result_tables.score_table(results["unseen"], result_tables.SHORT), "What train has not seen")
    notes = [note for task in results["tasks"].items() for note in result_tables.task_notes(*task)]
    notes += [*result_tables.result_notes(results), *results.get("comparison", {}).get("in_words", [])]
    print("\n".join(notes))
    print("Written:", options.output_dir)


def evaluate(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Any]:
    """Write the evaluation to the folder; returns its results, and the model's configuration."""
    from semart_hf.evaluation.comparison import read_compared
    from semart_hf.evaluation.results import write_evaluation
    from semart_hf.evaluation.vocabularies import load_split, read_label_map, seen_values

    model, processor = load_model(options.model)
    tasks = model.config.tasks
    load = partial(
        load_split,
        options.model,
        options.data,
        tasks=tasks,
        text_columns=options.text_columns,
        label_map=read_label_map(options.map_labels) if options.map_labels else None,
        common_labels=options.common_labels,
    )
    paintings = load(options.split, with_masked_text=options.mask_label_words)
    if not any(label is not None for name in model.config.task_names for label in paintings[name][:]):
        raise ValueError(
            f"Got the split {options.split!r} of {options.data}: {len(paintings)} paintings without a known label of "
            f"{model.config.task_names}. At least one label is needed to score. Give a labelled split, or ask for "
            "answers alone: semart-hf predict."
        )
    unseen = None
    if column := options.unseen_by:
        if column not in paintings.column_names:
            raise ValueError(f"Got --unseen_by {column}. The data has {paintings.column_names}. Give one of these.")
        unseen = (column, seen_values(options.data, column, options.split))
    results, outcomes, uncalibrated = write_evaluation(
        folder,
        model,
        processor,
        paintings,
        about={name: str(getattr(options, name)) for name in ("model", "data", "split")},
        compared=read_compared(options.compare, tasks, paintings) if options.compare else None,
        calibration=(options.calibrate, load(options.calibrate)) if options.calibrate else None,
        unseen=unseen,
        batch_size=options.batch_size,
        device=options.device,
        num_workers=options.num_workers,
        precision=options.precision,
        show_progress=True,
    )
    if not options.no_report:
        from semart_hf.documents.evaluation_report import explain_examples, write_evaluation_report

        examples = explain_examples(model, processor, paintings, outcomes, options.precision)
        write_evaluation_report(folder, results, outcomes, paintings, uncalibrated=uncalibrated, explanations=examples)
    return results, model.config


if __name__ == "__main__":
    main()
