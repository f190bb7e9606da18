"""Prove on real data what the recipes are for: `python scripts/prove.py text --csv FILE --text_tower FOLDER`."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Python looks for modules in a script's own folder first, where evaluate.py would stand in for the library of that
# name. The parts of this script lie there too, so that it is looked through last.
SCRIPTS = Path(__file__).resolve().parent

RESULTS = SCRIPTS / "proofs" / "results"
CARDS = SCRIPTS.parent / "model_cards"
EXAMPLES = """examples:
  python scripts/prove.py text --csv data/SemArt/semart_val.csv --text_tower distilbert/distilbert-base-uncased
  python scripts/prove.py pictures --release data/paintings
  python scripts/prove.py ablations --processes 2                  # paints a miniature with a long tail, goes on where
                                                                   # it was interrupted
  python scripts/prove.py speed --processes 2                      # that what makes training faster costs no accuracy
  python scripts/prove.py card scripts/proofs/results/text.json    # writes the card anew, of a file of results"""


def main(words: list[str] | None = None) -> None:
    options = parse_arguments(words)
    try:
        results = read(options.results) if options.part == "card" else prove(options)
        write_card(results, options.card or card_of(results["part"]))
    except (ValueError, OSError) as error:
        raise SystemExit(f"prove.py: {error}") from error


def parse_arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line's choices."""
    parser = argparse.ArgumentParser(
        description="Train by a recipe on real data, several times, and compare with what is usual.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    text = parts.add_parser("text", help="descriptions alone against TF-IDF and logistic regression")
    text.add_argument("--csv", type=Path, required=True, help="an official file; 80 %% of its rows are learned from")
    text.add_argument("--text_tower", required=True, help="folder or Hub id of a DistilBERT")
    text.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="default: 0 1 2 3 4")
    pictures = parts.add_parser("pictures", help="picture and text against each alone, in cross-validation")
    pictures.add_argument("--release", type=Path, required=True, help="a release's folder; its splits are joined")
    pictures.add_argument("--folds", type=int, default=5, help="default: 5")
    pictures.add_argument("--seed", type=int, default=0, help="of the folds and the trainings; default: 0")
    ablations = parts.add_parser("ablations", help="miniature-best.yaml whole, without each means, and without any")
    ablations.add_argument(
        "--release", type=Path, default=Path("outputs/long_tail"), help="its data, painted where missing: %(default)s"
    )
    ablations.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    ablations.add_argument("--settings", nargs="+", help="such as best, plain, 'without MEANS'; default: all")
    ablations.add_argument("--renew", action="store_true", help="leave out earlier runs of a changed recipe")
    speed = parts.add_parser("speed", help="the miniature with and without what makes training faster")
    speed.add_argument(
        "--release",
        type=Path,
        default=Path("outputs/speed_proof"),
        help="its data, painted where missing: %(default)s",
    )
    speed.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    for part in (ablations, speed):
        part.add_argument("--processes", type=int, default=1, help="trainings at a time; default: 1")
    for part in (text, pictures, ablations, speed):
        part.add_argument(
            "--json", type=Path, help="file that gets the results; default: under scripts/proofs/results"
        )
        part.add_argument("--fields", type=json.loads, default={}, help="of the recipe, as JSON, for a trial")
    card = parts.add_parser("card", help="write the card anew")
    card.add_argument("results", type=Path, help="a file of results")
    for part in (text, pictures, ablations, speed, card):
        part.add_argument("--card", type=Path, help="file that gets the card; default: under model_cards")
    return parser.parse_args(words)


def card_of(part: str) -> Path:
    """Where the card of a part lies."""
    return CARDS / ("ablations-miniature.md" if part == "ablations" else f"{part}_proof.md")


def read(path: Path) -> dict[str, Any]:
    """A file of results."""
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def prove(options: argparse.Namespace) -> dict[str, Any]:
    """The results of a part, which are written to their file too."""
    import datasets
    import transformers

    from semart_hf.evaluation.results import describe_environment
    from semart_hf.files import write_json

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    start, processor_start = time.perf_counter(), time.process_time()
    path = options.json or RESULTS / f"{options.part}.json"
    if options.part == "text":
        from proofs import text

        found = text.prove(options.csv, options.text_tower, options.seeds, options.fields)
    elif options.part == "pictures":
        from proofs import pictures

        found = pictures.prove(options.release, options.folds, options.seed, options.fields)
    elif options.part == "speed":
        from proofs import speed

        kept = read(path) if path.exists() else {}
        found = speed.prove(options.release, options.seeds, options.processes, options.fields, kept)
    else:
        from proofs import ablations

        kept = read(path) if path.exists() else {}
        found = ablations.prove(
            options.release, options.seeds, options.settings, options.processes, options.fields, kept, options.renew
        )
    results: dict[str, Any] = {"part": options.part, "environment": describe_environment()}
    with errors_alone():
        for measured in found:  # a file of what is done is left by whatever ends this early
            results |= {
                "seconds": round(time.perf_counter() - start),
                "processor_seconds": round(time.process_time() - processor_start),
                **measured,
            }
            write_json(path, results)
    print(f"Results: {path}")
    return results


@contextmanager
def errors_alone() -> Iterator[None]:
    """Within the block, the package tells errors alone: what is missing in the data is told by its own scripts."""
    logger = logging.getLogger("semart_hf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def write_card(results: dict[str, Any], path: Path) -> None:
    """Write the card of a file of results."""
    from proofs.cards import CARDS_BY_PART

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CARDS_BY_PART[results["part"]](results), encoding="utf-8")
    print(f"Card: {path}")


if __name__ == "__main__":
    main()
