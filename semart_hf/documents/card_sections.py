"""The parts of a model card, each in Markdown; what a results file lacks reads "not measured"."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from semart_hf.model.configuration_semart import SemArtConfig
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.publishing.traces import without_folders

NOT_MEASURED = "not measured"
NUM_WORST = 3
_TINY_SUPPORT = 10
_WORDS = {"image+text": "picture and text", "image": "picture alone", "text": "text alone"}
_WORDS |= {"image+masked text": "picture, and text without label words", "masked text": "text without label words"}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *[[cell.replace("|", "\\|") for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def enumeration(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def percent(fraction: float | None, interval: Sequence[float] | None = None) -> str:
    """A fraction in percent with one decimal, and its interval in brackets."""
    if fraction is None:
        return NOT_MEASURED
    span = f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else ""
    return f"{100 * fraction:.1f}{span}"


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals."""
    return NOT_MEASURED if value is None else f"{value:.{digits}f}"


def model_table(model: SemArtForArtClassification, recipe: Mapping[str, Any]) -> str:
    """Towers, sizes and what of them learned."""
    config = model.config
    vision, text = config.vision_config, config.text_config
    trainable, total = model.num_parameters_by_state()
    size = (vision.pretrained_cfg or {}).get("input_size", ["?", "?", "?"])
    layers = config.trainable_text_layers
    stages = config.frozen_vision_stages
    rows = [
        ["vision tower", f"{recipe.get('vision') or vision.architecture} (timm), {size[1]} × {size[2]} pixels"],
        ["of it frozen", f"the first {stages} stages, the stem first" if stages else "nothing"],
        ["text tower", f"{_tower_name(recipe, text)}: {text.n_layers} layers of {text.dim}"],
        ["of it learned", "everything" if layers is None else f"its last {layers} of {text.n_layers} layers"],
        ["starting weights", _starting_weights(recipe)],
        ["fused features", f"{config.fusion_dim}"],
        ["parameters", f"{total:,}, of which {trainable:,} learned"],
        ["format", config.format_version],
    ]
    return table(["part", "what"], rows)


def _tower_name(recipe: Mapping[str, Any], text: Any) -> str:
    return str(without_folders(recipe.get("text") or "DistilBERT"))


def _starting_weights(recipe: Mapping[str, Any]) -> str:
    if "pretrained" not in recipe and "vision" not in recipe:
        return "not recorded"
    pretrained = str(recipe.get("pretrained", "true")).lower()
    return {"true": "pretrained towers", "false": "random"}.get(pretrained, f"pretrained {pretrained} tower")


def label_table(config: SemArtConfig) -> str:
    """Every task with its labels, in the order of its logits."""
    rows = [[task["name"], str(len(task["labels"])), ", ".join(task["labels"])] for task in config.tasks or []]
    return table(["task", "labels", "in the order of the logits"], rows)


def imbalance(results: Mapping[str, Any]) -> str:
    """How much of the tested paintings the most frequent label of each task makes."""
    shares = []
    for task, scores in results.get("tasks", {}).items():
        support = {label: of_label["support"] for label, of_label in scores.get("per_label", {}).items()}
        if sum(support.values()):
            label = max(support, key=lambda name: support[name])
            shares.append(f"{task}: {label} {100 * support[label] / sum(support.values()):.0f} %")
    words = "Some labels are far more frequent than others, and a doubtful painting is drawn to the frequent ones."
    if not shares:
        return f"{words} Their shares: {NOT_MEASURED}."
    return f"{words} The most frequent label's share of the tested paintings: {'; '.join(shares)}."


def worst_classes(results: Mapping[str, Any]) -> str:
    """The labels with the lowest F1 of each task, by name, and those that the test did not contain."""
    lines = []
    for task, scores in results.get("tasks", {}).items():
        per_label = scores.get("per_label", {})
        tested = [label for label in per_label if per_label[label]["support"]]
        worst = sorted(tested, key=lambda label: per_label[label]["f1"])[:NUM_WORST]
        if worst:
            found = [f"{label} (F1 {per_label[label]['f1']:.2f} of {per_label[label]['support']})" for label in worst]
            untested = [label for label in per_label if not per_label[label]["support"]]
            missing = f"; not among the tested paintings: {', '.join(untested)}" if untested else ""
            lines.append(f"{task}: {', '.join(found)}{missing}")
    if not lines:
        return f"Lowest F1 by task: {NOT_MEASURED}."
    few = f" Where fewer than {_TINY_SUPPORT} paintings were tested, the figure says little."
    return f"Lowest F1 by task, of so many tested paintings: {'. '.join(lines)}.{few}"


def giveaway(results: Mapping[str, Any]) -> str:
    """What the text alone reaches, beside the picture alone and the text without the words that name a label."""
    modalities = results.get("modalities", {})
    words = (
        "Descriptions often name what is asked for: a school, a date, a technique. What looks like understanding of "
        "the picture may be reading."
    )
    rows = [
        f"{_WORDS[name]} {percent(modalities.get(name, {}).get('mean_accuracy'))}"
        for name in ("image+text", "image", "text", "image+masked text", "masked text")
    ]
    return f"{words} Mean accuracy in percent: {', '.join(rows)}."


def licences(weights: str, data_name: str, is_miniature: bool) -> str:
    """What may be done with code, weights and data."""
    data = (
        "The miniature was painted by program and comes with the code under the same licence."
        if is_miniature
        else f"The training data ({data_name}) have a licence of their own. SemArt may be used for non-commercial "
        "research only; its pictures and descriptions come from the Web Gallery of Art and may not be redistributed. "
        "A model trained on it should be used in the same spirit."
    )
    return f"The code is under Apache-2.0, the weights under {weights}. {data}"


def training(data_name: str, recipe: Mapping[str, Any]) -> str:
    """What was learned from, and the recipe."""
    if not recipe:
        return f"Data: {data_name}. The recipe: not recorded."
    clean = yaml.safe_dump(without_folders(dict(recipe)), sort_keys=False, allow_unicode=True, width=110).strip()
    return (
        f"Data: {data_name}, the train split. The recipe, as a file for `scripts/train.py`:\n\n```yaml\n{clean}\n```"
    )


def cost(results: Mapping[str, Any]) -> str:
    """What training took, and on what."""
    measured = results.get("training") or {}
    shown = {name: value for name, value in measured.items() if isinstance(value, int | float | str)}
    lines = [f"- {name.replace('_', ' ')}: {value:,}" for name, value in shown.items() if not isinstance(value, str)]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in shown.items() if isinstance(value, str)]
    if lines:
        lines.append(f"- trained on: {_machine(measured.get('environment') or results.get('environment') or {})}")
    spent = "\n".join(lines) if lines else f"- time and memory of training: {NOT_MEASURED}"
    return f"{spent}\n- evaluation: {_evaluation_cost(results)}"


def _evaluation_cost(results: Mapping[str, Any]) -> str:
    if not results.get("seconds"):
        return NOT_MEASURED
    machine = _machine(results.get("environment") or {})
    return f"{results['seconds']:,} s for {results['num_rows']:,} paintings and every view of them, on {machine}"


def _machine(environment: Mapping[str, Any]) -> str:
    name = environment.get("gpu") or environment.get("processor") or environment.get("platform")
    versions = [f"{name} {environment[name]}" for name in ("torch", "transformers", "timm") if environment.get(name)]
    words = f"{name}, {environment.get('cores')} cores" if name else "a machine that was not recorded"
    return f"{words} ({', '.join(versions)})" if versions else words


def results_section(results: Mapping[str, Any], data_name: str) -> str:
    """The scores of one results file, by task and by what was shown."""
    parts = [
        f"On {results['num_rows']:,} paintings ({data_name}, {results.get('split', 'unnamed')} split). In percent; in "
        "brackets the 95 % interval of a bootstrap over the paintings, where one was measured.",
        _task_table(results),
        _modality_table(results),
    ]
    return "\n\n".join(parts)


def _task_table(results: Mapping[str, Any]) -> str:
    rows = []
    for task, scores in results["tasks"].items():
        spans = scores.get("intervals", {})
        names = ("accuracy", "macro_f1", "weighted_f1")
        without = scores.get("without_unk", {}).get("accuracy")
        cells = [percent(scores.get(name), spans.get(name)) for name in names]
        rows.append([task, f"{scores['num_rows']:,}", *cells, percent(without)])
    spans = results.get("intervals", {})
    means = [percent(results.get(f"mean_{name}"), spans.get(f"mean_{name}")) for name in ("accuracy", "macro_f1")]
    rows.append(["mean", "", *means, "", ""])
    rows.append(["all tasks right", "", percent(results.get("exact_match"), spans.get("exact_match")), "", "", ""])
    return table(["task", "paintings", "accuracy", "macro F1", "weighted F1", "accuracy without UNK"], rows)


def _modality_table(results: Mapping[str, Any]) -> str:
    tasks = list(results["tasks"])
    rows = []
    for modality, scored in results.get("modalities", {}).items():
        cells = [
            percent(scores.get("accuracy"), scores.get("intervals", {}).get("accuracy"))
            for scores in (scored["tasks"].get(task, {}) for task in tasks)
        ]
        mean = percent(scored.get("mean_accuracy"), scored.get("intervals", {}).get("mean_accuracy"))
        rows.append([_WORDS.get(modality, modality), *cells, mean])
        if "ceiling" in scored:
            rows.append(["– best reachable", *[percent(scored["ceiling"].get(task)) for task in [*tasks, "mean"]]])
    if not rows:
        return f"By what is shown: {NOT_MEASURED}."
    return "Accuracy by what the model is shown:\n\n" + table(["shown", *tasks, "mean"], rows)


def figures(files: Mapping[str, str], prefix: str) -> str:
    """The figures whose name begins so, with their task as description."""
    shown = {name: path for name, path in files.items() if name.startswith(prefix)}
    if not shown:
        return NOT_MEASURED
    return "\n\n".join(f"![{name.replace('_', ' ')}]({path})" for name, path in shown.items())


def calibration(results: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """How far probabilities mean what they say, with and without temperatures, and when to trust an answer."""
    parts = []
    fitted = results.get("calibration")
    errors = {task: scores.get("expected_calibration_error") for task, scores in results.get("tasks", {}).items()}
    if fitted:
        rows = [
            [task, number(temperature, 2)]
            + [number(fitted[when].get(task, {}).get("expected_calibration_error")) for when in ("before", "after")]
            for task, temperature in fitted["temperatures"].items()
        ]
        header = ["task", "temperature", "calibration error before", "after"]
        parts.append(f"Temperatures were fitted on {fitted.get('fitted_on') or 'an earlier split'}.")
        parts.append(table(header, rows))
    elif any(error is not None for error in errors.values()):
        rows = [[task, number(error)] for task, error in errors.items()]
        parts.append("No temperature was fitted. The expected calibration error of each task:")
        parts.append(table(["task", "calibration error"], rows))
    else:
        parts.append(f"Calibration error: {NOT_MEASURED}.")
    parts += _thresholds(results.get("thresholds"))
    drawn = {name: path for name, path in files.items() if name in ("reliability", "risk_coverage")}
    parts += [f"![{name.replace('_', ' ')}]({path})" for name, path in drawn.items()]
    return "\n\n".join(parts)


def _thresholds(thresholds: Mapping[str, Any] | None) -> list[str]:
    if not thresholds:
        return []
    rows = []
    for task, threshold in thresholds["tasks"].items():
        names = ("min_confidence", "coverage", "accuracy")
        cells = ["never reached", "", ""] if threshold is None else [number(threshold.get(name)) for name in names]
        rows.append([task, *cells])
    target = f"{100 * thresholds['target_accuracy']:.0f} %"
    return [
        f"The `min_confidence` from which {target} of the answers are right (chosen on {thresholds['chosen_on']}), "
        "the share of paintings that are then answered, and how many of these answers are right:",
        table(["task", "min_confidence", "answered", "right"], rows),
    ]


def reproduce(repo_id: str, recipe: Mapping[str, Any], results: Mapping[str, Any], is_miniature: bool) -> str:
    """The command that trains and evaluates the model again, and the one that evaluates it as it is."""
    data = without_folders(str(recipe.get("data") or results.get("data") or "DATA"))
    options = f"--data {data} --split {results.get('split', 'test')} --output_dir evaluation"
    if any("masked" in modality for modality in results.get("modalities", {})):
        options += " --mask_label_words"
    again = f"python scripts/evaluate_model.py --model {repo_id} {options}"
    paint = f"semart-hf miniature {data}"
    if not recipe:
        return f"The recipe was not recorded. The figures, from the code of `semart-hf`:\n\n```bash\n{again}\n```"
    trained = without_folders(str(recipe.get("output_dir") or "outputs/model"))
    steps = [
        "accelerate launch scripts/train.py recipe.yaml",
        f"python scripts/evaluate_model.py --model {trained} {options}",
    ]
    command = " && \\\n".join([paint, *steps] if is_miniature else steps)
    return (
        f"With the code of `semart-hf`, and the recipe above as `recipe.yaml`:\n\n```bash\n{command}\n```\n\n"
        f"The figures of this page without training, from the model as it is here:\n\n```bash\n{again}\n```"
    )
