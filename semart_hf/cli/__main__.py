"""The console command: semart-hf COMMAND ..."""

import importlib
import sys
from importlib.metadata import version

COMMANDS = {
    "train": "Train a model by a recipe",
    "tune": "Search a recipe's best values",
    "evaluate": "Score a model on a split, and write results, figures and a report",
    "predict": "Classify paintings",
    "audit": "Find labels that are probably wrong",
    "index": "Embed a catalogue, to be searched",
    "search": "Find paintings by words, by a picture, by labels",
    "prepare": "Check a release or a catalogue and write it as a dataset of small pictures",
    "compare": "Train several towers under one recipe and compare them",
    "push": "Write a model repository, check it, and push it to the Hub",
    "export": "Write a model as ONNX graphs",
    "app": "Serve a model in the browser",
    "miniature": "Paint a small picture collection to try everything on",
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the first argument names with the others."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["--version"]:
        print(version("semart-hf"))
    elif not words or words[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print("usage: semart-hf COMMAND ... (semart-hf COMMAND --help for its options)\n")
        print("\n".join(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()))
    elif words[0] in COMMANDS:
        importlib.import_module(f"semart_hf.cli.{words[0]}").main(words[1:])
    else:
        raise SystemExit(f"semart-hf: Got the command {words[0]!r}. Allowed are {', '.join(COMMANDS)}. Name one.")


if __name__ == "__main__":
    main()
