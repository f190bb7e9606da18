"""Prove what the recipes and techniques are for: `python scripts/prove.py text --csv FILE --text_tower FOLDER`."""

import argparse
import importlib
import logging
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "proofs" / "results"
CARDS = RESULTS.parents[2] / "model_cards"
# By name: its card, what it proves, and the folder of its data where that is painted or copied.
PARTS: dict[str, tuple[str, str, str | None]] = {
    "text": ("text_proof", "descriptions alone against TF-IDF and logistic regression", None),
    "ablations": ("ablations-miniature", "miniature-best.yaml whole and without each technique", "long_tail"),
    "audit": ("audit_proof", "how many of the first labels of an audit are wrong ones", "review_proof"),
    "finetune": ("finetune_proof", "200 paintings of another catalogue, from a published model", "finetune_proof"),
    "retrieval": ("retrieval_proof", "search by words and pictures, and what it costs the tasks", "search_proof"),
    "review": ("review_proof", "how many decisions each order of a review needs", "review_proof"),
    "paintings": ("paintings", "real paintings beside anchors that are tuned fairly", "paintings_proof"),
    "speed": ("speed_proof", "the miniature with and without what makes training faster", "speed_proof"),
}


def main(words: list[str] | None = None) -> None:
    options = parse_arguments(words)
    try:
        if options.part != "card":
            prove(options)
        measured = [part for part in PARTS if (RESULTS / f"{part}.json").is_file()]
        for part in measured if options.part == "card" else (options.part,):
            write_card(part)
    except (ValueError, OSError) as error:
        raise SystemExit(f"prove.py: {error}") from error


def parse_arguments(words: list[str] | None) -> argparse.Namespace:
    epilog = "The same command continues where it was interrupted. What each needs: docs/evaluation.md, Proofs."
    parser = argparse.ArgumentParser(description="Train several times, and compare with what is usual.", epilog=epilog)
    commands = parser.add_subparsers(dest="part", required=True, metavar="PART")
    parts = {name: commands.add_parser(name, help=text) for name, (_, text, _) in PARTS.items()}
    parts["text"].add_argument("--csv", type=Path, required=True, help="an official file; 80 %% are learned from")
    parts["retrieval"].add_argument("--paintings", type=Path, required=True, help="a release; titles are the texts")
    parts["paintings"].add_argument("--releases", type=Path, nargs="+", required=True, help="folders; they are joined")
    own = ("anchors", "recipe", "few", "semart", "choices")
    parts["paintings"].add_argument("--parts", nargs="+", choices=own, default=own, help="all by default: %(choices)s")
    for name in ("audit", "review"):
        parts[name].add_argument("--model", default="outputs/demo/model", help="of make demo: %(default)s")
    for name in ("retrieval", "paintings"):
        parts[name].add_argument("--vision_tower", required=True, help="folder or Hub id of a timm model")
    for name in ("text", "retrieval", "paintings"):
        parts[name].add_argument("--text_tower", required=True, help="folder or Hub id of a DistilBERT")
    for name, part in parts.items():
        if folder := PARTS[name][2]:
            help_text = "its data, painted or copied where missing: %(default)s"
            part.add_argument("--release", type=Path, default=Path("outputs", folder), help=help_text)
        seeds = range(5 if name in ("text", "paintings") else 3)
        meaning = "folds that are judged" if name == "paintings" else "default"
        part.add_argument("--seeds", type=int, nargs="+", default=seeds, help=f"{meaning}: {len(seeds)} of them")
        part.add_argument("--processes", type=int, default=1, help="trainings at a time; default: %(default)s")
    commands.add_parser("card", help="write all cards again from the kept results")
    return parser.parse_args(words)


def prove(options: argparse.Namespace) -> None:
    from proofs.runner import execute

    logging.getLogger("semart_hf").setLevel(logging.ERROR)  # what is missing in the data is no news here
    path = RESULTS / f"{options.part}.json"
    execute(importlib.import_module(f"proofs.{options.part}_runs"), options, path)
    print(f"Results: {path}")


def write_card(part: str) -> None:
    from proofs.proof_cards import card, write_charts

    from semart_hf.files import read_json, write_text

    path = CARDS / f"{PARTS[part][0]}.md"
    results = read_json(RESULTS / f"{part}.json")
    write_text(path, card(results))
    write_charts(results, path.with_suffix(""))
    print(f"Card: {path}")


if __name__ == "__main__":
    main()
