"""Whether what makes training faster costs accuracy: the miniature with all of it, and with none of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import architecture
from benchmarks.means import MEANS, do_without

from proofs.processes import Task, share_cores, train_each
from proofs.scores import mean_and_deviation
from proofs.training import WITHOUT_VALIDATION, train_and_score, trained

RECIPE = Path(__file__).resolve().parents[2] / "semart_hf" / "recipes" / "miniature.yaml"
SIZES = {"num_train": 2400, "num_val": 400, "num_test": 2000}
SETTINGS = ("all", "none on the same pictures", "none")
CURVES = tuple(f"{setting}, step by step" for setting in SETTINGS)
# These change what is computed: pictures go through other filters on their way. The others change how it is computed.
MEANS_OF_PICTURES = ("pictures made small once", "augmentation as one resampling")
# What gives every means something to do: a frozen text layer before one that learns and is read at its first token,
# and all of the study's augmentations.
FIELDS: dict[str, Any] = {
    "trainable_text_layers": 1,
    "text_pooling": "first",
    "rotation": 10,
    "color_jitter": 0.1,
    "random_erasing": 0.1,
    "num_train_epochs": 6,
}
ON: dict[str, Any] = {"cache_frozen_text": "true", "prepare": True, "prepared_size": 96}
# Step by step, nothing is left to chance, and both sides see the same numbers.
EXACT: dict[str, Any] = {
    "text_args": {"dim": 128, "n_layers": 2, "n_heads": 4, "hidden_dim": 512, "dropout": 0, "attention_dropout": 0},
    "fusion_dropout": 0,
    "crop_scale": [1, 1],
    "crop_ratio": [1, 1],
    "horizontal_flip": 0,
    "rotation": 0,
    "color_jitter": 0,
    "random_erasing": 0,
    "image_dropout": 0,
    "text_dropout": 0,
    "ema_decay": 0,
    "prepare": False,
    "precision": "fp32",
    "max_steps": 100,
    "logging_steps": 1,
    **WITHOUT_VALIDATION,
}
ON_EXACTLY = {"cache_frozen_text": "true", "text_cache_dtype": "fp32"}


def prove(
    release: Path, seeds: Sequence[int], processes: int, fields: Mapping[str, Any], kept: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Scores with all means and without for every seed, and their losses step by step, as far as known.

    Args:
        release: Folder of the miniature, which is painted where there is none.
        seeds: Of the trainings.
        processes: Trainings at a time, which share the cores.
        fields: Of the recipe, which win over all others, in every setting.
        kept: Results of an earlier call, whose runs are not repeated; empty: none.

    Raises:
        ValueError: If the earlier results are of another recipe, or the folder holds something else.
        ChildProcessError: If the process of a training ended without a result.
    """
    from semart_hf.miniature.miniature import paint_miniature
    from semart_hf.training.recipe import read_recipe

    used = {name: fields_of(name) | dict(fields) for name in (*SETTINGS, *CURVES)}
    recipe = read_recipe(RECIPE)
    if kept and (kept["recipe"], kept["settings"]) != (recipe, used):
        raise ValueError(
            "The file of results holds runs of another recipe or other fields than today's. Results of one file "
            "belong to the same ones. Remove it, or name another one by --json."
        )
    paint_miniature(release, workers=processes, **SIZES)
    runs: list[dict[str, Any]] = list(kept.get("runs", []))
    done = {(run["setting"], run["seed"]) for run in runs}
    wanted = [(name, seed) for seed in seeds for name in SETTINGS] + [(name, seeds[0]) for name in CURVES]
    tasks = [(release, *one, used[one[0]], processes) for one in wanted if one not in done]
    common: dict[str, Any] = {
        "recipe": recipe,
        "settings": used,
        "fields": dict(fields),
        "sizes": SIZES,
        "means": [one.name for one in means()],
    }
    if not tasks:
        yield {**common, "runs": runs, "summary": summarise(runs)}
    for number, run in enumerate(train_each(train_one, tasks, processes), 1):
        order = (*SETTINGS, *CURVES)
        runs = sorted([*runs, run], key=lambda run: (order.index(run["setting"]), run["seed"]))
        score = f"accuracy {run['image+text']['mean_accuracy']:.3f}" if "image+text" in run else "losses"
        print(f"{number} of {len(tasks)}: {run['setting']}, seed {run['seed']}: {score}", flush=True)
        yield {**common, "runs": runs, "summary": summarise(runs)}


def means() -> list[Any]:
    """The means that the recipe's tower has on a CPU."""
    from semart_hf.training.recipe import read_recipe

    tower = architecture(read_recipe(RECIPE))
    return [one for one in MEANS if one.is_of(tower, "cpu")]


def fields_of(setting: str) -> dict[str, Any]:
    """What a setting changes in the recipe."""
    is_curve, of_pictures = setting in CURVES, {name: ON[name] for name in ("prepare", "prepared_size")}
    fields = {**FIELDS, **(EXACT if is_curve else {})}
    if setting.startswith("all"):
        return {**fields, **(ON_EXACTLY if is_curve else ON)}
    fields |= {name: value for one in taken_away(setting) for name, value in one.off.items()}
    return fields | (of_pictures if setting == SETTINGS[1] else {})


def taken_away(setting: str) -> list[Any]:
    """The means that a setting does without."""
    if setting.startswith("all"):
        return []
    kept = MEANS_OF_PICTURES if "same pictures" in setting else ()
    return [one for one in means() if one.name not in kept]


def train_one(task: Task) -> dict[str, Any]:
    """Scores of one training by modality, or the losses of its steps, with its `setting`, `seed` and `commit`."""
    from semart_hf.data.loading import load_paintings
    from semart_hf.evaluation.results import describe_environment

    release, setting, seed, fields, processes = task
    share_cores(processes)
    for one in taken_away(setting):
        do_without(one.name)
    chosen = {"data": str(release), "seed": seed, **fields}
    splits = load_paintings(release)
    about = {"setting": setting, "seed": seed, "commit": describe_environment().get("commit")}
    if setting not in CURVES:
        return {**about, **train_and_score(RECIPE, chosen, splits)}
    del splits["validation"]
    with trained(RECIPE, chosen, splits) as (trainer, _, seconds):
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return {**about, "seconds": round(seconds, 1), "losses": losses}


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and deviation by setting and score, differences beside the spread between seeds, and of the losses.

    Seeds count that all settings have. The spread of two settings is that of the one whose seeds are further apart.
    """
    summary: dict[str, Any] = {}
    scored = {name: {run["seed"]: run for run in runs if run["setting"] == name} for name in SETTINGS}
    seeds = sorted(set.intersection(*(set(runs_by_seed) for runs_by_seed in scored.values())))
    for score in ("mean_accuracy", "mean_macro_f1") if seeds else ():
        by_setting = {name: [scored[name][seed]["image+text"][score] for seed in seeds] for name in SETTINGS}
        figures = {name: mean_and_deviation(values) for name, values in by_setting.items()}
        summary[score] = {
            **figures,
            "differences": {name: figures["all"]["mean"] - figures[name]["mean"] for name in SETTINGS[1:]},
            "spreads": {
                name: max(max(by_setting[one]) - min(by_setting[one]) for one in ("all", name))
                for name in SETTINGS[1:]
            },
        }
    curves = {run["setting"]: run["losses"] for run in runs if run["setting"] in CURVES}
    if len(curves) == len(CURVES):
        first, *others = (curves[name] for name in CURVES)
        summary["losses"] = {"steps": len(first), "first": first[0], "last": first[-1]}
        for name, losses in zip(CURVES[1:], others, strict=True):
            apart = [abs(one - other) for one, other in zip(first, losses, strict=True)]
            summary["losses"][name] = {
                "largest_difference": max(apart),
                "largest_difference_of_first_10": max(apart[:10]),
            }
    return {"seeds": seeds, **summary}
