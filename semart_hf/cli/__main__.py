"""The console command: semart-hf COMMAND ..."""

import importlib
import sys
from importlib.metadata import version

from .command import COMMANDS, run_command


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


def console() -> None:
    run_command(main)


if __name__ == "__main__":
    run_command(main)
