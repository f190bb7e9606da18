"""Paint a small picture collection to try everything on: semart-hf miniature FOLDER."""

from pathlib import Path

from semart_hf.files import read_json
from semart_hf.memory import allowed_cores

from .command import command, parser_of


@command("miniature")
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("miniature", "It has the layout of a SemArt release, and says how right an answer can be.")
    add = parser.add_argument
    add("folder", type=Path, help="new or empty folder, or a finished miniature of the same settings")
    add("--seed", type=int, default=0, help="another seed, another collection [%(default)s]")
    add("--num_train", type=int, default=2400, help="paintings to learn from [%(default)s]")
    add("--num_val", type=int, default=200, help="paintings to choose a checkpoint by [%(default)s]")
    add("--num_test", type=int, default=400, help="paintings to judge by [%(default)s]")
    add("--long_tail", action="store_true", help="labels as unevenly frequent as in SemArt")
    add("--workers", type=int, default=allowed_cores(), help="processes that paint [%(default)s]")
    options = parser.parse_args(arguments)

    from semart_hf.miniature.miniature import MODALITIES, paint_miniature

    folder = paint_miniature(**vars(options))
    ceilings = read_json(folder / "ceiling.json")
    best = ", ".join(f"{modality} {ceilings[modality]['mean']:.3f}" for modality in MODALITIES)
    print(f"{folder}: {options.num_train}/{options.num_val}/{options.num_test} paintings; ceilings: {best}")
