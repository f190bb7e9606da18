"""Search a recipe's best values: semart-hf tune RECIPE --trials N [--search FILE] [--field value ...]."""

import logging
import shlex
import warnings
from pathlib import Path
from typing import Any

from semart_hf.extras import optional
from semart_hf.files import locked

from .command import command, parser_of

EPILOG = """
The study is kept in OUTPUT_DIR/study.sqlite3, the best recipe in best.yaml, the values tried in search.svg and .png.
The same command continues, and with more --trials goes on. Other fields win over the recipe's, as in training:
  semart-hf tune semart-efficientnet_b0 --trials 20 --data data/SemArt --num_train_epochs 3"""


@command("tune")
def main(words: list[str] | None = None) -> None:
    parser = parser_of("tune", EPILOG)
    add = parser.add_argument
    add("recipe", help="recipe by name, or its file")
    add("--trials", type=int, default=20, help="trials at the end, with those of before [%(default)s]")
    add("--search", default="search/default", help="YAML file of ranges [the package's own]")
    add("--output_dir", type=Path, default=Path("outputs/search"), help="[%(default)s]")
    arguments, overrides = parser.parse_known_args(words)
    if arguments.trials < 1:
        raise ValueError(f"Got --trials {arguments.trials}, but a search has at least one. Give 1 or more.")
    optuna = optional("optuna", "tune")
    import transformers

    from semart_hf.documents.charts import draw_search, save_chart
    from semart_hf.recipes.recipe import effective_recipe, read_recipe, write_recipe
    from semart_hf.training.tuning import best_recipe, read_ranges, tune

    recipe = effective_recipe(read_recipe(arguments.recipe), overrides)
    folder = arguments.output_dir
    ranges = read_ranges(arguments.search, recipe)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("semart_hf").setLevel(logging.ERROR)  # no trial is continued, and each would say so
    with locked(folder, "searching"):
        study = tune(recipe, ranges, folder, arguments.trials, print)
        write_recipe(folder / "best.yaml", best_recipe(study, recipe))
        shown: list[Any] = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
        shown.sort(key=lambda trial: trial.value, reverse=study.direction == optuna.study.StudyDirection.MAXIMIZE)
        metric = recipe.get("metric_for_best_model", "mean_macro_f1")
        tried = {name: [trial.params[name] for trial in shown] for name in ranges}
        logarithmic = {name for name, values in ranges.items() if isinstance(values, dict) and values.get("log")}
        save_chart(draw_search(tried, [trial.value for trial in shown], metric, logarithmic), folder / "search")
    path = str(folder / "best.yaml")
    print(f"Best recipe: {path}. Train it: semart-hf train {shlex.quote(path)}")
