"""Paint a small picture collection to try everything on: semart-hf miniature FOLDER."""

import argparse
import json
import os
from pathlib import Path

from .command import command


@command("miniature")
def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="semart-hf miniature",
        description="Paint a small picture collection in the layout of a SemArt release, with a known ceiling.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="new or empty folder, or a finished miniature of the same settings")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another collection")
    parser.add_argument("--num_train", type=int, default=2400, help="paintings to learn from")
    parser.add_argument("--num_val", type=int, default=200, help="paintings to choose a checkpoint by")
    parser.add_argument("--num_test", type=int, default=400, help="paintings to judge by")
    parser.add_argument("--long_tail", action="store_true", help="labels as unevenly frequent as in SemArt")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that paint")
    options = parser.parse_args(arguments)

    from semart_hf.miniature.miniature import paint_miniature
    from semart_hf.miniature.world import MODALITIES

    folder = paint_miniature(**vars(options))
    ceilings = json.loads((folder / "ceiling.json").read_text(encoding="utf-8"))
    best = ", ".join(f"{modality} {ceilings[modality]['mean']:.3f}" for modality in MODALITIES)
    print(f"{folder}: {options.num_train}/{options.num_val}/{options.num_test} paintings; ceilings: {best}")


if __name__ == "__main__":
    main()
