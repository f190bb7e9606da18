"""What each technique of `miniature-best.yaml` is worth: the recipe whole, without one of them, and without any."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proofs import runner
from proofs.runner import Options, Run, by_setting, figures, gains, mean_and_deviation, tasks_of, train_and_score
from semart_hf.evaluation.results import ceilings_of
from semart_hf.miniature.miniature import paint_miniature
from semart_hf.recipes.recipe import RECIPES, read_recipe

BEST, PLAIN = "miniature-best.yaml", "miniature-plain.yaml"
SIZES = {"num_train": 2400, "num_val": 400, "num_test": 2000}
CHANGES = ("mean_accuracy", "mean_macro_f1", "mean_absolute_error_periods")
TECHNIQUES = read_recipe(Path(__file__).with_name("ablations.yaml"))
# By how much the mean macro-F1 is to be better than plain cross-entropy's, and the mean accuracy at worst.
GOALS = {"macro_f1": 0.05, "accuracy": -0.01, "share_of_ceiling": 0.96}


def plan(options: Options) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All settings and seeds, on the long-tailed miniature, which is painted where there is none."""
    best, plain = (read_recipe(RECIPES / name) for name in (BEST, PLAIN))
    longer = {name: best[name] for name in TECHNIQUES["longer training"]}
    settings = {"best": {}, "plain": {}, "plain, as long": longer}
    settings |= {f"without {name}": fields for name, fields in TECHNIQUES.items()}
    paint_miniature(options.release, long_tail=True, workers=options.processes, **SIZES)
    common = {"recipes": {BEST: best, PLAIN: plain}, "techniques": TECHNIQUES, "sizes": SIZES, "goals": GOALS}
    common["ceilings"] = ceilings_of(options.release)
    return common, tasks_of(settings, options.seeds, options.release)


def run_one(setting: str, seed: int, release: Path, fields: Run) -> dict[str, Any]:
    return train_and_score(PLAIN if setting.startswith("plain") else BEST, release, seed, fields)


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean and deviation by setting and score, and the `change` against the best over the seeds that both have."""
    seeds, summary = by_setting(runs), dict[str, Any]()
    for name, found in seeds.items():
        both = [run["image+text"] for run in found.values()]
        summary[name] = {
            "seeds": [*found],
            **{score: figures([runner.by_task(run, score) for run in both]) for score in ("accuracy", "macro_f1")},
            "periods": mean_and_deviation([one["mean_absolute_error_periods"] for one in both]),
        }
        for modality in ("image", "text"):
            summary[name][modality] = mean_and_deviation([run[modality]["mean_accuracy"] for run in found.values()])
        best = seeds.get("best", {})
        if name != "best" and found.keys() & best.keys():
            summary[name]["change"] = {key: mean_and_deviation(gains(found, best, key)) for key in CHANGES}
    return summary
