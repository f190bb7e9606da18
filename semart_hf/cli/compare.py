"""Compare towers under one recipe: `semart-hf compare RECIPE --output_dir OUT [--field value ...]`."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semart_hf.files import read_json, update_digest, write_json
from semart_hf.recipes.recipe import RECIPES, changed_fields, effective_recipe, read_recipe, write_recipe

from .command import command, parser_of

# What says where a run lies or how it reports, and nothing of what it learned.
ABOUT_PLACE = ("output_dir", "logging_steps", "report_to")
# What belongs to the tower and not to the recipe that all towers share.
TOWER_FIELDS = ("vision", "frozen_vision_stages")
EPILOG = """
Every other --field value is a field of the recipe, for all towers, as scripts/train.py takes it:
  --data FOLDER --num_train_epochs 4 --max_train_rows 2000

The same command continues what was cut off: finished towers are not trained again. Under OUT lie comparison.html,
comparison.md, comparison.json, figures, and for each tower its model and its whole evaluation."""


@command("compare")
def main(words: list[str] | None = None) -> None:
    parser = parser_of("compare", EPILOG)
    add = parser.add_argument
    add("recipe", metavar="RECIPE", help="what every tower is trained by, its own tower aside")
    kinds = "X of a recipe semart-X, a recipe's file, a timm model or its Hub id, a finished run [%(default)s]"
    add("--towers", nargs="+", default=["resnet18", "efficientnet_b0", "vit_tiny"], metavar="TOWER", help=kinds)
    add("--output_dir", required=True, type=Path, metavar="OUT", help="where everything is written")
    add("--split", default="test", help="what they are compared on (default: test)")
    add("--no_reports", action="store_true", help="leave out each tower's own figures and report")
    add("--device", help="for evaluation and its speed: cpu, cuda, … (default: the GPU, if there)")
    options, overrides = parser.parse_known_args(words)
    from semart_hf.data.loading import load_paintings
    from semart_hf.documents.comparison_report import write_comparison
    from semart_hf.evaluation.comparison import compare_runs, read_run

    chosen_here = {*TOWER_FIELDS, "overwrite_output_dir", "resume_from_checkpoint"}
    if taken := sorted(chosen_here & effective_recipe({}, overrides).keys()):
        advice = "Name the towers by --towers, and take a new --output_dir to begin again."
        raise ValueError(f"Got {taken} on the command line. They are chosen for each tower. {advice}")
    recipe = effective_recipe(read_recipe(options.recipe), overrides)
    towers = resolve_towers(options.towers, recipe)
    if not recipe.get("data"):
        raise ValueError("Got a recipe without data. Every tower is trained and compared on the same. Pass --data.")
    splits = list(load_paintings(recipe["data"]))
    if options.split not in splits:
        raise ValueError(f"Got the split {options.split!r}. {recipe['data']} has {splits}. Pass --split with one.")
    scored = ["--data", str(recipe["data"]), "--split", options.split]
    device = ["--device", options.device] if options.device else []
    folders = {}
    for name, tower in towers.items():
        folder = options.output_dir / "towers" / name
        model = folders[folder] = tower if isinstance(tower, Path) else train({**recipe, **tower}, folder)
        words = ["semart_hf.cli.evaluate", *scored, "--output_dir", str(folder / "evaluation"), *device]
        run_once(folder / "evaluation", model, [*words, *["--no_report"] * options.no_reports])
    # All speeds are measured one after the other, not between the hours of training.
    for folder, model in folders.items():
        words = ["semart_hf.evaluation.cost", *scored, "--output", str(folder / "cost" / "cost.json"), *device]
        run_once(folder / "cost", model, words)
    comparison = compare_runs([read_run(folder, model, shared_fields(model)) for folder, model in folders.items()])
    print("\n" + "\n".join(write_comparison(options.output_dir, {"recipe": options.recipe, **comparison})))
    print("Written:", ", ".join(str(options.output_dir / f"comparison.{kind}") for kind in ("html", "md", "json")))


def train(recipe: dict[str, Any], folder: Path) -> Path:
    """The folder of the tower's finished model; begun, continued or found finished."""
    model, path = folder / "model", folder / "recipe.yaml"
    recipe = {**recipe, "output_dir": str(model)}
    if not path.is_file():
        write_recipe(path, recipe)
    elif changed := changed_fields(path, recipe):
        begun_by = f"whose {folder.name} was begun by another recipe: {changed}"
        raise ValueError(f"Got {folder}, {begun_by}. Give the same recipe, or another --output_dir.")
    if (model / "results.json").is_file():
        print(f"[{folder.name}] trained already: {model}", flush=True)
    else:
        print(f"[{folder.name}] training by {path}", flush=True)
        run(folder.name, "training", ["semart_hf.cli.train", str(path)])
    return model


def run_once(output: Path, model: Path, words: list[str]) -> None:
    """Run a step of a tower that fills a folder, unless it did so with the same options for the same weights."""
    digest = hashlib.sha256()
    for path in [model / "config.json", *sorted(model.glob("*.safetensors"))]:
        update_digest(digest, path)
    wanted, done = {"model": digest.hexdigest(), "words": words}, output / "done.json"
    if read_json(done) == wanted:
        print(f"[{output.parent.name}] {output.name}: done already, {output}", flush=True)
        return
    print(f"[{output.parent.name}] {output.name}", flush=True)
    shutil.rmtree(output, ignore_errors=True)
    run(output.parent.name, output.name, [*words, "--model", str(model)])
    write_json(done, wanted)


def run(name: str, step: str, words: list[str]) -> None:
    """Run a module as a step in a process of its own, which ends when this one does."""
    from semart_hf.training.callbacks import PREEMPTED_STATUS, end_with_parent

    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    if step == "training":  # a process that sees several GPUs would split each batch over them
        environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    status = subprocess.run([sys.executable, "-m", *words], env=environment, preexec_fn=end_with_parent).returncode
    if status:
        ended = f"semart-hf compare: the step {step!r} of {name} ended with status {status}, see above."
        print(ended, "The same command continues from there.", file=sys.stderr)
        raise SystemExit(PREEMPTED_STATUS if status == PREEMPTED_STATUS else 1)


def shared_fields(model: Path) -> dict[str, Any]:
    """The fields of a model's recipe that were to be the same for all towers; none where it has no recipe."""
    recipe = read_recipe(model) if (model / "recipe.yaml").is_file() else {}
    return {field: value for field, value in recipe.items() if field not in (*TOWER_FIELDS, *ABOUT_PLACE)}


def resolve_towers(words: Sequence[str], recipe: Mapping[str, Any]) -> dict[str, dict[str, Any] | Path]:
    """By name each tower's fields, of a recipe file, `X` for `semart-X.yaml` or timm, or its finished run's folder."""
    towers = [resolve_tower(word, recipe) for word in words]
    names = [name for name, _ in towers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Got several towers with the names {twice}. Each needs its own. Leave one out.")
    if len(towers) < 2:
        raise ValueError(f"Got the towers {names}. At least two can be compared. Pass --towers with more of them.")
    return dict(towers)


def resolve_tower(word: str, recipe: Mapping[str, Any]) -> tuple[str, dict[str, Any] | Path]:
    """The tower that a word means, by its name."""
    import timm

    path = Path(word)
    config = read_json(path / "config.json") or {}
    if config.get("model_type") == "semart" and any(path.glob("*.safetensors")):
        folder = path.resolve()
        # A comparison of towers itself keeps each model in TOWER/model.
        return folder.parent.name if folder.name == "model" else folder.name, path
    named = RECIPES / f"semart-{word}.yaml"
    fields, name = {"vision": word}, word.rpartition("/")[2]
    if path.suffix in (".yaml", ".yml") or named.is_file():
        own = read_recipe(named if named.is_file() else path)
        if "vision" not in own:
            raise ValueError(f"Got the recipe {word}, which names no vision tower. Add `vision: NAME` to it.")
        fields = {name: own[name] for name in TOWER_FIELDS if name in own}
        name = word if named.is_file() else path.stem
    vision = str(fields["vision"])
    architecture = vision.rpartition("/")[2].partition(".")[0]
    if not (timm.is_model(architecture) or Path(vision).is_dir()):
        known = sorted(file.stem.removeprefix("semart-") for file in RECIPES.glob("semart-*.yaml"))
        allowed = f"the folder of a finished run, a recipe, one of {known}, timm's models and their Hub ids"
        raise ValueError(f"Got the tower {word!r}. Allowed are {allowed}. Correct --towers.")
    # From scratch it is the architecture alone, and the recipe's own stages that stay frozen, if any.
    if recipe.get("pretrained") in (False, "false", "text") and not Path(vision).is_dir():
        fields = {"vision": architecture}
    return name, fields
