"""Search: pictures and texts that find each other, what that costs the tasks, and canonical correlations beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from transformers import AutoModel

from proofs.anchors import tower_features
from proofs.runner import Options, Run, by_setting, figures, gains, mean_and_deviation, tasks_of, train_and_score
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


def plan(options: Options) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One setting on real paintings, then both on the miniature, seed by seed."""
    paint_miniature(options.release, **SIZES)
    towers = {"vision": options.vision_tower, "text": options.text_tower}
    common = {
        "recipes": {"miniature": MINIATURE, PAINTINGS: REAL},
        "settings": SETTINGS,
        "sizes": SIZES,
        "ceilings": {"search": ceilings_of(options.release)["search"]["test"]},
        "paintings": options.paintings.name,
        "towers": [Path(tower).name for tower in towers.values()],
    }
    real = tasks_of({PAINTINGS: towers}, options.seeds, options.paintings)
    return common, real + tasks_of(SETTINGS, options.seeds, options.release)


def run_one(setting: str, seed: int, release: Path, fields: Run) -> dict[str, Any]:
    """Scores of the tasks and of search for one training; of real paintings those of canonical correlations, too."""
    if setting != PAINTINGS:
        return train_and_score(MINIATURE, release, seed, fields)
    splits = load_paintings(release, text_columns=read_recipe(RECIPES / REAL)["text_columns"])
    found = train_and_score(REAL, release, seed, fields, splits)
    return found | {"correlations": correlations(splits, fields["vision"])}


def correlations(splits: Run, vision: str) -> dict[str, Any]:
    """Search by CCA of frozen features and TF-IDF, `plain` and after PCA (`reduced`), as is best on `validation`."""
    tower = AutoModel.from_pretrained(vision, trust_remote_code=False).eval()
    paintings = {name: split.filter(bool, input_columns="text") for name, split in splits.items()}
    texts = {name: list(split["text"]) for name, split in paintings.items()}
    pictures = {name: tower_features(tower, split) for name, split in paintings.items()}
    words = TfidfVectorizer(sublinear_tf=True).fit(texts["train"])
    counts = {name: words.transform(some).toarray() for name, some in texts.items()}
    best: dict[str, Any] = {}
    for reduction in REDUCTIONS:
        sides = [reduced(side, reduction) for side in (pictures, counts)]
        most = min(len(texts["train"]) - 1, *(side["train"].shape[1] for side in sides))
        for number in (number for number in COMPONENTS if number <= most):
            model = CCA(n_components=number, max_iter=2000).fit(*(side["train"] for side in sides))
            scores = {}
            for name in ("validation", "test"):
                pair = model.transform(*(side[name] for side in sides))
                vectors = (normalize(side).astype(np.float32) for side in pair)
                scores[name] = retrieval_scores(*vectors, texts[name], num_resamples=200)
            kind, choice = "plain" if reduction is None else "reduced", recalls(scores["validation"])["mean"]
            if kind not in best or choice > best[kind]["validation"]:
                about = {"components": number, "columns": reduction, "validation": choice}
                best[kind] = {**about, "retrieval": scores["test"]}
    return best


def reduced(side: Run, columns: int | None) -> Run:
    if columns is None:
        return side
    components = PCA(min(columns, *side["train"].shape), random_state=0).fit(side["train"])
    return {name: components.transform(values) for name, values in side.items()}


def recalls(retrieval: Run, part: str | None = None) -> dict[str, float]:
    """Recalls by way and depth and their `mean`: those reached, or of a part (`chance`, `ceiling`)."""
    ways = {way: retrieval[way][part] if part else retrieval[way] for way in WAYS}
    found = {f"{way} recall_at_{depth}": ways[way][f"recall_at_{depth}"] for way in WAYS for depth in DEPTHS}
    return {**found, "mean": float(np.mean([*found.values()]))}


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Means and deviations over the seeds: recalls, shares of the reachable, the tasks' cost, and gains over CCA."""
    settings = by_setting(runs)
    found: dict[str, Any] = {"seeds": sorted({run["seed"] for run in runs})}
    searches = {name: [run.get("retrieval") for run in own.values()] for name, own in settings.items()}
    if joint := searches.get("joint"):
        reached, ceilings = [recalls(one) for one in joint], [recalls(one, "ceiling") for one in joint]
        found["miniature"] = figures(reached)
        found["shares"] = figures(
            [{name: one[name] / best[name] for name in one} for one, best in zip(reached, ceilings, strict=True)]
        )
    costs = {
        score: gains(settings.get("joint", {}), settings.get("tasks alone", {}), score)
        for score in ("mean_accuracy", "mean_macro_f1")
    }
    if seeds := len(costs["mean_accuracy"]):
        found["costs"] = {"seeds": seeds, **{score: mean_and_deviation(own) for score, own in costs.items()}}
        for name in SETTINGS:
            both = [run["image+text"] for run in settings[name].values()]
            found["costs"][name] = figures([{score: one[score] for score in costs} for one in both])
    if real := [*settings.get(PAINTINGS, {}).values()]:
        kinds = {kind: [run["correlations"][kind]["retrieval"] for run in real] for kind in ("plain", "reduced")}
        sides = {"ours": searches[PAINTINGS], **kinds}
        found["real"] = {side: figures([*map(recalls, own)]) for side, own in sides.items()}
        ours = found["real"]["ours"]["mean"]["mean"]
        found["real"]["times"] = {kind: ours / found["real"][kind]["mean"]["mean"] for kind in kinds}
        found["real"]["chance"] = recalls(searches[PAINTINGS][0], "chance")
    return found
