"""A page for one model: a picture and a text go in, ranked labels of each task come out."""

from semart_hf.cli.app import main

if __name__ == "__main__":
    main()
