"""What each means of `miniature-best.yaml` is worth: the recipe whole, without one of them, and without any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from proofs.processes import Task, share_cores, train_each
from proofs.scores import mean_and_deviation
from proofs.training import train_and_score

RECIPES = Path(__file__).resolve().parents[2] / "semart_hf" / "recipes"
BEST, PLAIN = "miniature-best.yaml", "miniature-plain.yaml"
SIZES = {"num_train": 2400, "num_val": 400, "num_test": 2000}
MODALITIES = ("image+text", "image", "text")
SCORES = ("accuracy", "macro_f1")
# Fields of miniature-best.yaml that take one means away.
MEANS: dict[str, dict[str, Any]] = {
    "logit adjustment": {"loss": "cross_entropy"},
    "lexicon": {"text_lexicon": False},
    "losses of each modality": {"modality_loss": 0.0},
    "more dropout in the text tower": {"text_args": {"dim": 128, "n_layers": 2, "n_heads": 4, "hidden_dim": 512}},
    "averaged weights": {"ema_decay": 0.0},
    "whole pictures": {"crop_pct": None},
    "longer training": {"num_train_epochs": 12, "image_size": 64},
}
LONGER = "plain, as long"
"""Plain cross-entropy with the best recipe's values of "longer training": its epochs, and its size of pictures."""
NUMBERS_OF_MEANS = {"lexicon_penalty", "logit_adjustment_tau"}
"""Fields that say nothing where their means is off."""
GOALS = {"macro_f1": 0.05, "accuracy": -0.01, "share_of_ceiling": 0.96}
"""By how much the mean macro-F1 is to be better than plain cross-entropy's, and the mean accuracy at worst."""


def prove(
    release: Path,
    seeds: Sequence[int],
    settings: Sequence[str] | None,
    processes: int,
    fields: Mapping[str, Any],
    kept: Mapping[str, Any],
    renew: bool = False,
) -> Iterator[dict[str, Any]]:
    """Scores of every setting with every seed, and their summary, as far as known after each training.

    Args:
        release: Folder of the long-tailed miniature, which is painted where there is none.
        seeds: Of the trainings.
        settings: Of `all_settings`; `None`: all of them.
        processes: Trainings at a time, which share the cores.
        fields: Of the recipes, which win over their own, in every setting.
        kept: Results of an earlier call, whose runs are not repeated; empty: none.
        renew: Whether earlier runs by another recipe than today's, or on other data, are left out and not refused.

    Raises:
        ValueError: If a setting is unknown, earlier results differ from today's and are not to be left out, or the
            folder holds something else.
        ChildProcessError: If the process of a training ended without a result.
    """
    from semart_hf.evaluation.results import ceilings_of
    from semart_hf.miniature.miniature import paint_miniature
    from semart_hf.training.recipe import read_recipe

    settings = all_settings() if settings is None else settings
    unknown = [name for name in settings if name not in all_settings()]
    if unknown:
        raise ValueError(f"Got the settings {unknown}, but there are {all_settings()}. Choose among these.")
    recipes = {name: read_recipe(RECIPES / name) for name in (BEST, PLAIN)}
    common: dict[str, Any] = {"recipes": recipes, "means": MEANS, "fields": dict(fields), "sizes": SIZES}
    runs: list[dict[str, Any]] = []
    for run in kept.get("runs", []):
        if is_of_today(run, kept, common):
            runs.append(run)
        elif renew:
            print(f"Left out, since its recipe or data has changed: {run['setting']}, seed {run['seed']}", flush=True)
        else:
            raise ValueError(
                f"The file of results holds a run of '{run['setting']}' by another recipe than today's, or on other "
                "data. Name another file by --json, or leave such runs out by --renew."
            )
    paint_miniature(release, long_tail=True, workers=processes, **SIZES)
    done = {(run["setting"], run["seed"]) for run in runs}
    wanted = [(name, seed) for name in settings for seed in seeds if (name, seed) not in done]
    common |= {"goals": GOALS, "ceilings": ceilings_of(release)}
    if not wanted:
        yield {**common, "runs": runs, "summary": summarise(runs)}
    changed = {name: {**fields_of(name, recipes, MEANS), **fields} for name in settings}
    tasks = [(release, name, seed, changed[name], processes) for name, seed in wanted]
    for number, run in enumerate(train_each(train_one, tasks, processes), 1):
        runs = sorted([*runs, run], key=lambda run: (all_settings().index(run["setting"]), run["seed"]))
        scores = run["image+text"]
        print(
            f"{number} of {len(wanted)}: {run['setting']}, seed {run['seed']}: accuracy "
            f"{scores['mean_accuracy']:.3f}, macro-F1 {scores['mean_macro_f1']:.3f}, {run['seconds']:.0f} s",
            flush=True,
        )
        yield {**common, "runs": runs, "summary": summarise(runs)}


def all_settings() -> list[str]:
    """`best`, `plain`, `plain, as long`, and `without …` for each means."""
    return ["best", "plain", LONGER, *(f"without {means}" for means in MEANS)]


def fields_of(setting: str, recipes: Mapping[str, Any], means: Mapping[str, Any]) -> dict[str, Any]:
    """What a setting changes in its recipe; the arguments are as `prove` keeps them in its results."""
    if setting == LONGER:
        return {name: recipes[BEST][name] for name in means["longer training"]}
    found: dict[str, Any] = means.get(setting.removeprefix("without "), {})
    return found


def recipe_of(setting: str) -> str:
    """The name of the recipe that a setting changes."""
    return PLAIN if setting in ("plain", LONGER) else BEST


def is_of_today(run: Mapping[str, Any], then: Mapping[str, Any], today: Mapping[str, Any]) -> bool:
    """Whether a run's setting is one of today's, and trains by the same values as then, on as many paintings.

    Args:
        run: One of the runs of `then`.
        then: Results of an earlier call.
        today: The `recipes`, `means`, `fields` and `sizes` of this one.
    """
    setting = run["setting"]
    values = [
        {
            **known["recipes"][recipe_of(setting)],
            **fields_of(setting, known["recipes"], known["means"]),
            **known["fields"],
            "sizes": known["sizes"],
        }
        for known in (then, today)
    ]
    return setting in all_settings() and values[0] == values[1]


def train_one(task: Task) -> dict[str, Any]:
    """Scores of one training, by modality, with its `setting`, `seed` and `seconds`.

    Args:
        task: Folder of the release, setting, seed, fields of the recipe that win over its own, and how many
            trainings share the cores.
    """
    from semart_hf.data.loading import load_paintings
    from semart_hf.evaluation.results import describe_environment

    release, setting, seed, fields, processes = task
    share_cores(processes)
    chosen = {"data": str(release), "seed": seed, **fields}
    about = {"setting": setting, "seed": seed, "commit": describe_environment().get("commit")}
    return {**about, **train_and_score(RECIPES / recipe_of(setting), chosen, load_paintings(release))}


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and deviation over the seeds, by setting: scores by task, and `loss` against the best by score.

    A loss is taken seed by seed, over the seeds that both settings have.
    """
    summary: dict[str, Any] = {}
    by_setting = {
        name: {run["seed"]: run for run in runs if run["setting"] == name}
        for name in all_settings()
        if any(run["setting"] == name for run in runs)
    }
    for name, found in by_setting.items():
        both = [run["image+text"] for run in found.values()]
        summary[name] = {"seeds": sorted(found)}
        for score in SCORES:
            summary[name][score] = {
                **{task: mean_and_deviation([one["tasks"][task][score] for one in both]) for task in both[0]["tasks"]},
                "mean": mean_and_deviation([one[f"mean_{score}"] for one in both]),
            }
        summary[name]["periods"] = mean_and_deviation([one["mean_absolute_error_periods"] for one in both])
        for modality in MODALITIES[1:]:
            summary[name][modality] = mean_and_deviation([run[modality]["mean_accuracy"] for run in found.values()])
        common = sorted(found.keys() & by_setting.get("best", {}).keys())
        if name != "best" and common:
            pairs = [(found[seed]["image+text"], by_setting["best"][seed]["image+text"]) for seed in common]
            summary[name]["change"] = {
                key: mean_and_deviation([own[key] - best[key] for own, best in pairs])
                for key in ("mean_accuracy", "mean_macro_f1", "mean_absolute_error_periods")
            }
    return summary
