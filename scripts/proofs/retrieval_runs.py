"""Search: pictures and texts that find each other, what that costs the tasks, and canonical correlations beside it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import AutoModel

from proofs.anchors import tower_features
from proofs.runner import Run, mean_and_deviation, train_and_score, train_on_release
from semart_hf.data.loading import load_paintings
from semart_hf.evaluation.results import ceilings_of
from semart_hf.evaluation.retrieval import DEPTHS, WAYS, retrieval_scores
from semart_hf.miniature.miniature import paint_miniature
from semart_hf.recipes.recipe import RECIPES, read_recipe

MINIATURE, REAL = "miniature.yaml", "search_proof.yaml"
SIZES = {"num_train": 4800, "num_val": 400, "num_test": 400}
# Each modality must stand alone, on whole pictures: what connects the two may lie at an edge. Chosen on a miniature of
# another seed; the same for both sides.
BOTH = {"modality_loss": 0.5, "image_dropout": 0, "text_dropout": 0, "crop_pct": 1}
SETTINGS: dict[str, dict[str, Any]] = {"joint": {**BOTH, "contrastive_weight": 1}, "tasks alone": BOTH}
PAINTINGS = "real paintings"
COMPONENTS = (2, 5, 10, 20, 40)
REDUCTIONS = (None, 20, 50)  # columns that principal components leave of either side; `None`: all


def plan(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One setting on real paintings, then both on the miniature, seed by seed."""
    paint_miniature(options.release, **SIZES)
    common = {
        "recipes": {"miniature": MINIATURE, PAINTINGS: REAL},
        "settings": SETTINGS,
        "sizes": SIZES,
        "ceilings": {"search": ceilings_of(options.release)["search"]["test"]},  # type: ignore[index]
        "paintings": options.paintings.name,
        "towers": [Path(options.vision_tower).name, Path(options.text_tower).name],
    }
    towers = {"vision": options.vision_tower, "text": options.text_tower}
    tasks = [
        {"setting": PAINTINGS, "seed": seed, "release": options.paintings, "fields": towers} for seed in options.seeds
    ]
    tasks += [
        {"setting": name, "seed": seed, "release": options.release, "fields": fields}
        for seed in options.seeds
        for name, fields in SETTINGS.items()
    ]
    return common, tasks


def run_one(setting: str, seed: int, release: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of the tasks and of search for one training; of real paintings those of canonical correlations, too."""
    if setting != PAINTINGS:
        return train_on_release(setting, seed, release, MINIATURE, fields)
    splits = load_paintings(release, text_columns=read_recipe(RECIPES / REAL)["text_columns"])
    found = train_and_score(REAL, {"data": str(release), "seed": seed, **fields}, splits)
    return found | {"correlations": correlations(splits, fields["vision"])}


def correlations(splits: Mapping[str, Any], vision: str) -> dict[str, Any]:
    """Search by canonical correlations of a frozen tower's features and TF-IDF, `plain` and after PCA (`reduced`).

    The number of components, and of columns that PCA leaves, are those with the best mean recall on `validation`.
    """
    tower = AutoModel.from_pretrained(vision, trust_remote_code=False).eval()
    paintings = {name: split.filter(lambda text: bool(text), input_columns="text") for name, split in splits.items()}
    texts = {name: list(split["text"]) for name, split in paintings.items()}
    pictures = {name: tower_features(tower, split) for name, split in paintings.items()}
    words = TfidfVectorizer(sublinear_tf=True).fit(texts["train"])
    counts = {name: words.transform(some).toarray() for name, some in texts.items()}
    best: dict[str, Any] = {}
    for reduction in REDUCTIONS:
        sides = [reduced(side, reduction) for side in (pictures, counts)]
        for number in COMPONENTS:
            if number > min(len(texts["train"]) - 1, *(side["train"].shape[1] for side in sides)):
                continue
            model = CCA(n_components=number, max_iter=2000).fit(*(side["train"] for side in sides))
            scores = {}
            for name in ("validation", "test"):
                vectors = (unit(side) for side in model.transform(*(side[name] for side in sides)))
                scores[name] = retrieval_scores(*vectors, texts[name], num_resamples=200)
            kind, choice = "plain" if reduction is None else "reduced", mean_recall(scores["validation"])
            if kind not in best or choice > best[kind]["validation"]:
                about = {"components": number, "columns": reduction, "validation": choice}
                best[kind] = {**about, "retrieval": scores["test"]}
    return best


def reduced(side: Mapping[str, Any], columns: int | None) -> Mapping[str, Any]:
    if columns is None:
        return side
    components = PCA(min(columns, *side["train"].shape), random_state=0).fit(side["train"])
    return {name: components.transform(values) for name, values in side.items()}


def unit(vectors: Any) -> Any:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)).astype(np.float32)


def mean_recall(retrieval: Mapping[str, Any]) -> float:
    """The mean over both ways and all depths."""
    return float(np.mean([retrieval[way][f"recall_at_{depth}"] for way in WAYS for depth in DEPTHS]))


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Means and deviations over the seeds: recalls, shares of the reachable, the tasks' cost, and gains over CCA."""
    by_setting = {name: [run for run in runs if run["setting"] == name] for name in (*SETTINGS, PAINTINGS)}
    found: dict[str, Any] = {"seeds": sorted({run["seed"] for run in runs})}
    if joint := by_setting["joint"]:
        shares = [recalls(run["retrieval"], "ceiling", shares=True) for run in joint]
        found["miniature"] = {name: figures([recalls(run["retrieval"]) for run in joint], name) for name in shares[0]}
        found["shares"] = {name: figures(shares, name) for name in shares[0]}
    pairs = {run["seed"]: run for run in by_setting["tasks alone"]}
    if costs := [
        {
            score: run["image+text"][score] - pairs[run["seed"]]["image+text"][score]
            for score in ("mean_accuracy", "mean_macro_f1")
        }
        for run in joint
        if run["seed"] in pairs
    ]:
        found["costs"] = {score: figures(costs, score) for score in costs[0]} | {"seeds": len(costs)}
        for name in SETTINGS:
            scores = [run["image+text"] for run in by_setting[name]]
            found["costs"][name] = {score: figures(scores, score) for score in ("mean_accuracy", "mean_macro_f1")}
    if real := by_setting[PAINTINGS]:
        sides = {"ours": [recalls(run["retrieval"]) for run in real]}
        sides |= {
            kind: [recalls(run["correlations"][kind]["retrieval"]) for run in real] for kind in ("plain", "reduced")
        }
        found["real"] = {side: {name: figures(some, name) for name in some[0]} for side, some in sides.items()}
        found["real"]["chance"] = recalls(real[0]["retrieval"], "chance")
        found["real"]["times"] = {
            kind: found["real"]["ours"]["mean"]["mean"] / found["real"][kind]["mean"]["mean"]
            for kind in ("plain", "reduced")
        }
    return found


def recalls(retrieval: Mapping[str, Any], part: str | None = None, *, shares: bool = False) -> dict[str, float]:
    """Recalls by way and depth and their `mean`: reached, of a part (`chance`, `ceiling`), or as shares of it."""
    names = [(way, f"recall_at_{depth}") for way in WAYS for depth in DEPTHS]
    wanted = {f"{way} {name}": (retrieval[way][part] if part else retrieval[way])[name] for way, name in names}
    wanted["mean"] = float(np.mean(list(wanted.values())))
    return {name: value / wanted[name] for name, value in recalls(retrieval).items()} if shares else wanted


def figures(found: Sequence[Mapping[str, float]], name: str) -> dict[str, float]:
    return mean_and_deviation([one[name] for one in found])
