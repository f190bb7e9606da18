"""The cards of the proofs: every figure comes from a file of results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proofs.scores import cell

SIDES = {
    "tfidf": "TF-IDF, logistic regression",
    "tower_alone": "text tower alone",
    "ours": "text tower and lexicon",
}
METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


def text_card(results: Mapping[str, Any]) -> str:
    """The card of `prove.py text` as Markdown."""
    summary, runs = results["summary"], results["runs"]
    rows, gains = runs[0]["rows"], summary["gains"]
    tasks = list(runs[0]["ours"]["tasks"])
    better, tower = summary["tasks_with_better_accuracy"], results["text_tower"]
    verdict = "beats" if summary["is_better"] else "does not beat"
    parts = [
        "# Descriptions alone: is more learned than words say?",
        f"`{results['recipe']}` {verdict} tuned TF-IDF with logistic regression, by "
        f"{_points(gains['accuracy']['mean'])} points of mean accuracy and {_points(gains['macro_f1']['mean'])} of "
        f"mean macro-F1, with the better accuracy in {len(better)} of {len(tasks)} tasks"
        f"{' (' + ', '.join(better) + ')' if better else ''}.",
        f"Data: {sum(rows.values()):,d} rows of `{results['csv']}`, of which {rows['train']} are learned from and "
        f"{rows['test']} judged, divided anew by each of the seeds {', '.join(str(run['seed']) for run in runs)}. "
        "Labels that occur fewer than 10 times among the rows to learn from are `UNK`, for all sides. In per cent, "
        "mean and standard deviation over the seeds:",
    ]
    for metric, name in METRICS.items():
        lines = [_row(name, [*tasks, "mean"]), _row("---", ["---"] * (len(tasks) + 1))]
        for side, label in SIDES.items():
            scores = summary["scores"][metric][side]
            lines.append(_row(label, [cell(scores[task]) for task in [*tasks, "mean"]]))
        lines.append(_row("gain over TF-IDF", [cell(gains[metric][task], sign=True) for task in [*tasks, "mean"]]))
        lines.append(
            _row(
                "seeds with a gain", [f"{gains[metric][task]['positive']} of {len(runs)}" for task in [*tasks, "mean"]]
            )
        )
        parts.append("\n".join(lines))
    parts += [
        "## How it was compared",
        "- TF-IDF has words and word pairs with sublinear counts. For each task and seed, the `C` and the class "
        "weights of its logistic regression are those with the best score in a five-fold cross-validation on the rows "
        "to learn from. It is tuned twice, and judged for each metric by the setting that was tuned for it. In the "
        "order of the seeds, `C` and class weights chosen for accuracy: "
        f"{_choices(runs, 'accuracy')}; for macro-F1: {_choices(runs, 'macro_f1')}.",
        "- The model is trained once a seed, by the recipe as it stands, without validation rows, and one model is "
        f"judged by both metrics. Its text tower, `{tower['name']}`, has the format of DistilBERT, {tower['layers']} "
        f"layers and {tower['width']} features; its last layer learns. The recipe's rates and penalty "
        "come from trials on other divisions of the same file, so rows that are judged here were among those of the "
        "trials.",
        "- The text tower alone is the same recipe without the lexicon, at learning rates that suit it then. The "
        "lexicon is a linear model on the counts of single word pieces (`text_lexicon`), whose answer is added to the "
        "tower's. It is what wins here: descriptions name places, saints and painters, and a thousand of them are too "
        "few for a tower's last layer to learn these.",
        _circumstances(results, f"python scripts/prove.py text --csv {results['csv']} --text_tower FOLDER"),
    ]
    return "\n\n".join(parts) + "\n"


def pictures_card(results: Mapping[str, Any]) -> str:
    """The card of `prove.py pictures` as Markdown."""
    summary, runs, filled = results["summary"], results["runs"], results["filled"]
    accuracy, gains = summary["accuracy"], summary["gains"]
    columns = list(accuracy["image"])
    sentences = [
        f"{_points(gain)} points of mean accuracy over {alone} alone (more in {gain['positive']} of {len(runs)} folds)"
        for alone, gain in gains.items()
    ]
    outcome = "beats each of them alone" if summary["is_better"] else "does not beat each of them alone"
    lines = [_row("accuracy", columns), _row("---", ["---"] * len(columns))]
    lines += [_row(name, [cell(accuracy[name][column]) for column in columns]) for name in accuracy]
    known = ", ".join(f"{name} for {number}" for name, number in filled.items() if name != "rows")
    parts = [
        "# Real pictures: does the picture help the text, and the text the picture?",
        f"Learned from scratch on {filled['rows']} real paintings, picture and text together {outcome}: "
        f"{' and '.join(sentences)}.",
        f"In per cent, mean and standard deviation over {len(runs)} folds, a model for each row, by "
        f"`{results['recipe']}`:",
        "\n".join(lines),
        f"The catalogue, `{results['release']}`, has {filled['rows']} rows, and most of its cells are empty: there is "
        f"{known}. The text is title and description. Each fold learns its labels from its own rows; a task's "
        "accuracy counts the rows whose label is known.",
        "One checkpoint that was trained on both, shown one alone, has a mean accuracy of "
        + " and ".join(
            f"{100 * sum(run['one_checkpoint'][name] for run in runs) / len(runs):.1f} by {name}"
            for name in ("image", "text")
        )
        + ".",
    ]
    if not summary["is_better"]:
        parts.append(
            "Why not: a tower that starts from scratch learns little of what a picture shows from three hundred of "
            "them, whereas titles name their subject. Deviations between folds of some 80 paintings, fewer of them "
            "labelled, are larger than what is to be measured."
        )
    parts.append(_circumstances(results, "python scripts/prove.py pictures --release FOLDER"))
    return "\n\n".join(parts) + "\n"


def ablations_card(results: Mapping[str, Any]) -> str:
    """The card of `prove.py ablations` as Markdown.

    Raises:
        ValueError: If one of the two recipes has not been run.
    """
    missing = [name for name in ("best", "plain") if name not in results["summary"]]
    if missing:
        raise ValueError(
            f"Got results without {missing}, but the card compares both recipes. Run prove.py ablations --settings "
            f"{' '.join(missing)}, which goes on where it ended."
        )
    summary, runs, ceilings = results["summary"], results["runs"], results["ceilings"]
    best, plain = summary["best"], summary["plain"]
    shares = {name: summary[name]["accuracy"]["mean"]["mean"] / ceilings["image+text"]["mean"] for name in summary}
    change = {key: {**figure, "mean": -figure["mean"]} for key, figure in plain["change"].items()}
    tasks = [*best["accuracy"]]
    lines = [_row("", tasks), _row("---", ["---"] * len(tasks))]
    for score, title in METRICS.items():
        for name in ("plain", "best"):
            lines.append(_row(f"{title}, {name}", [_of_seeds(summary[name][score][task], plain) for task in tasks]))
    lines.append(_row("highest possible accuracy", [f"{100 * ceilings['image+text'][task]:.1f}" for task in tasks]))
    titles = ["mean macro-F1", "change", "mean accuracy", "change", "periods", "image alone", "text alone", "seeds"]
    table = [_row("", titles), _row("---", ["---"] * len(titles))]
    for name, found in summary.items():
        against = found.get("change")
        table.append(
            _row(
                name,
                [
                    _of_seeds(found["macro_f1"]["mean"], found),
                    _of_seeds(against["mean_macro_f1"], found, sign=True) if against else "",
                    _of_seeds(found["accuracy"]["mean"], found),
                    _of_seeds(against["mean_accuracy"], found, sign=True) if against else "",
                    f"{found['periods']['mean']:.3f}",
                    f"{100 * found['image']['mean']:.1f}",
                    f"{100 * found['text']['mean']:.1f}",
                    ", ".join(map(str, found["seeds"])),
                ],
            )
        )
    environment = results["environment"]
    fields = [
        f"- **{name}**: off by " + ", ".join(f"`{field}: {json.dumps(value)}`" for field, value in off.items())
        for name, off in results["means"].items()
    ]
    over = "with one seed" if len(plain["seeds"]) == 1 else f"over {len(plain['seeds'])} seeds"
    sizes, changed = results["sizes"], f", with {results['fields']} everywhere" if results["fields"] else ""
    parts = [
        "# The miniature with SemArt's long tail: what each means is worth",
        f"`miniature-best.yaml` against `miniature-plain.yaml`, which is plain cross-entropy without any of the means "
        f"below: {_points(change['mean_macro_f1'])} points of mean macro-F1 and {_points(change['mean_accuracy'])} of "
        f"mean accuracy, {over}. Wrong by {best['periods']['mean']:.3f} periods on average "
        f"instead of {plain['periods']['mean']:.3f}. It reaches {shares['best']:.3f} of the highest possible accuracy "
        f"with picture and text, plain cross-entropy {shares['plain']:.3f}.{_as_long(summary)}",
        *_against_goals(change, best, plain, shares["best"], results["goals"]),
        "In per cent, mean and standard deviation over the seeds:",
        "\n".join(lines),
        "Each means taken away from `miniature-best.yaml` alone; the change is against it, seed by seed. The last "
        "columns are accuracies of the same checkpoint shown one modality.",
        "\n".join(table),
        "\n".join(fields),
        f"Data: the embedded miniature with labels as unevenly frequent as in SemArt (`semart-hf "
        f"miniature FOLDER --long_tail`), {sizes['num_train']:,d} paintings to learn from, "
        f"{sizes['num_val']:,d} to choose the checkpoint by and {sizes['num_test']:,d} judged. Labels with fewer than "
        "10 paintings count as `UNK`, which nobody can learn and which lowers every macro-F1 here.",
        f"`python scripts/prove.py ablations`{changed}: {sum(run['seconds'] for run in runs) / 60:.0f} minutes of "
        f"training, one core each of {environment['processor']}; torch {environment['torch']}, transformers "
        f"{environment['transformers']}, commit {', '.join(sorted({run['commit'] for run in runs}))}. Written by "
        "`scripts/prove.py` from its results in `scripts/proofs/results/`.",
    ]
    return "\n\n".join(parts) + "\n"


def speed_card(results: Mapping[str, Any]) -> str:
    """The card of `prove.py speed` as Markdown.

    Raises:
        ValueError: If a setting has not been run.
    """
    from proofs.speed import CURVES, MEANS_OF_PICTURES, SETTINGS

    summary, runs, environment = results["summary"], results["runs"], results["environment"]
    if "losses" not in summary or not summary["seeds"]:
        raise ValueError(
            "Got results without all settings, but the card compares them. Run prove.py speed, which goes on where it "
            "ended."
        )
    scores = {"mean_accuracy": "mean accuracy", "mean_macro_f1": "mean macro-F1"}
    titles = [part for title in scores.values() for part in (title, "with all, less this", "spread between seeds")]
    lines = [_row("in per cent", titles), _row("---", ["---"] * len(titles))]
    for name in SETTINGS:
        cells = []
        for score in scores:
            found = summary[score]
            apart = found["differences"].get(name)
            cells += [cell(found[name])]
            cells += ["", ""] if apart is None else [_points({"mean": apart}), f"{100 * found['spreads'][name]:.1f}"]
        lines.append(_row(name, cells))
    # By each score, how far all is above a setting, and the spread between seeds.
    apart_of = {
        name: [(summary[score]["differences"][name], summary[score]["spreads"][name]) for score in scores]
        for name in SETTINGS[1:]
    }
    is_equal = {name: all(abs(apart) < spread for apart, spread in pairs) for name, pairs in apart_of.items()}
    _, same_pictures, own_pictures = CURVES
    losses, changed = summary["losses"], f", with {results['fields']} everywhere" if results.get("fields") else ""
    sizes = results["sizes"]
    settings = [
        f"- **{name}**: " + ", ".join(f"`{field}: {json.dumps(value)}`" for field, value in fields.items())
        for name, fields in results["settings"].items()
    ]
    parts = [
        "# What makes training faster, and accuracy"
        if any(apart <= -spread for pairs in apart_of.values() for apart, spread in pairs)
        else "# What makes training faster costs no accuracy",
        f"`miniature.yaml` trained with everything that makes training faster, and with the usual way in the place of "
        f"each: {'; '.join(results['means'])}. Two of these change what is computed, "
        f"{' and '.join(MEANS_OF_PICTURES)}: pictures go through other filters. So a third setting has these two, and "
        f"the usual way in the place of all others. Seeds {', '.join(map(str, summary['seeds']))}, mean and standard "
        "deviation; a spread is that of the one of two settings whose seeds are further apart. The differences "
        + "; ".join(
            f"between all and {name} are {'smaller than it' if is_equal[name] else 'not all smaller than it'}"
            for name in SETTINGS[1:]
        )
        + ".",
        "\n".join(lines),
        f"Step by step in fp32, with augmentation, dropout and averaging off and texts stored as fp32, the loss falls "
        f"from {losses['first']:.2f} to {losses['last']:.2f} in {losses['steps']} steps. On the same pictures the "
        f"losses with and without the others differ by {_apart(losses[same_pictures])}; where pictures are made small "
        f"by one resampling in one and by torchvision's in the other, by {_apart(losses[own_pictures])}.",
        "Fields that differ from the recipe:",
        "\n".join(settings),
        f"Data: the embedded miniature, {sizes['num_train']:,d} paintings to learn from and {sizes['num_test']:,d} "
        "judged.",
        f"`python scripts/prove.py speed`{changed}: {sum(run['seconds'] for run in runs) / 60:.0f} minutes of "
        f"training; {environment['processor']}, torch {environment['torch']}, transformers "
        f"{environment['transformers']}, commit {', '.join(sorted({run['commit'] for run in runs}))}. Written by "
        "`scripts/prove.py` from its results in `scripts/proofs/results/`.",
    ]
    return "\n\n".join(parts) + "\n"


def _apart(found: Mapping[str, float]) -> str:
    """How far the losses of two trainings are from each other."""
    return (
        f"{found['largest_difference_of_first_10']:.1e} at most in the first 10 steps and by "
        f"{found['largest_difference']:.1e} in all"
    )


def _as_long(summary: Mapping[str, Any]) -> str:
    """What is left of the difference where plain cross-entropy is trained as long as the best recipe."""
    found = summary.get("plain, as long")
    if found is None:
        return " What plain cross-entropy reaches in as many epochs, on pictures as fine, was not measured."
    gains = [{"mean": -found["change"][score]["mean"]} for score in ("mean_macro_f1", "mean_accuracy")]
    return (
        f" Against plain cross-entropy trained as long, on pictures as fine: {_points(gains[0])} points of mean "
        f"macro-F1 and {_points(gains[1])} of mean accuracy ({'seed' if len(found['seeds']) == 1 else 'seeds'} "
        f"{', '.join(map(str, found['seeds']))})."
    )


def _of_seeds(figure: Mapping[str, float], found: Mapping[str, Any], *, sign: bool = False) -> str:
    """A figure with its deviation, which one seed alone does not tell."""
    return cell(figure, sign=sign) if len(found["seeds"]) > 1 else cell(figure, sign=sign).split(" ±")[0]


def _against_goals(
    change: Mapping[str, Mapping[str, float]],
    best: Mapping[str, Any],
    plain: Mapping[str, Any],
    share: float,
    goals: Mapping[str, float],
) -> list[str]:
    """A line for each goal, whether it was reached."""
    reached = {
        f"mean macro-F1 better by at least {100 * goals['macro_f1']:.0f} points": change["mean_macro_f1"]["mean"]
        >= goals["macro_f1"],
        f"at no more than {-100 * goals['accuracy']:.0f} point of mean accuracy": change["mean_accuracy"]["mean"]
        >= goals["accuracy"],
        "dated closer, in periods": best["periods"]["mean"] < plain["periods"]["mean"],
        f"picture and text at least {goals['share_of_ceiling']:.2f} of the highest possible accuracy": share
        >= goals["share_of_ceiling"],
    }
    return ["\n".join(f"- {goal}: {'reached' if is_so else 'not reached'}" for goal, is_so in reached.items())]


CARDS_BY_PART: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "text": text_card,
    "pictures": pictures_card,
    "ablations": ablations_card,
    "speed": speed_card,
}


def _row(name: str, cells: Sequence[str]) -> str:
    return "| " + " | ".join([name, *cells]) + " |"


def _points(gain: Mapping[str, float]) -> str:
    return f"{round(100 * gain['mean'], 1) + 0.0:+.1f}"  # a difference that rounds to nothing has no sign of its own


def _choices(runs: Sequence[Mapping[str, Any]], metric: str) -> str:
    """The settings that were chosen for each task, in the order of the seeds."""
    by_task = []
    for task in runs[0]["tfidf"][metric]["chosen"]:
        chosen = [run["tfidf"][metric]["chosen"][task] for run in runs]
        numbers = ", ".join(f"{one['C']:g}{' balanced' if one['class_weight'] else ''}" for one in chosen)
        by_task.append(f"{task} {numbers}")
    return "; ".join(by_task)


def _circumstances(results: Mapping[str, Any], command: str) -> str:
    environment = results["environment"]
    changed = f", with {results['fields']} instead of the recipe's" if results["fields"] else ""
    return (
        f"`{command}`{changed}: {results['processor_seconds'] / 60:.1f} minutes of processor time on "
        f"{environment['processor']}, {environment['cores']} cores; torch {environment['torch']}, transformers "
        f"{environment['transformers']}, scikit-learn {environment['scikit-learn']}, commit {environment['commit']}. "
        "Written by `scripts/prove.py` from its results in `scripts/proofs/results/`."
    )
