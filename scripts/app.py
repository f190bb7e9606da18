"""A page for one model: a picture and a text go in, ranked labels of each task come out."""

from semart_hf.cli.app import main
from semart_hf.cli.command import run_command

if __name__ == "__main__":
    run_command(main)
