"""Sentences of a model's card, made from a results file; what it lacks reads "not measured"."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from semart_hf.model.modeling_semart import SemArtForArtClassification

from .paths import without_folders
from .result_tables import modality_words
from .table import NOT_MEASURED, Table, number, percent

NUM_WORST = 3
_TINY_SUPPORT = 10


def model_table(model: SemArtForArtClassification, recipe: Mapping[str, Any]) -> Table:
    """Towers, sizes and what of them learned."""
    config = model.config
    vision, text = config.vision_config, config.text_config
    trainable, total = model.num_parameters(only_trainable=True), model.num_parameters()
    size = (vision.pretrained_cfg or {}).get("input_size", ["?", "?", "?"])
    layers, stages = config.trainable_text_layers, config.frozen_vision_stages
    start = "not recorded"
    if "pretrained" in recipe or "vision" in recipe:
        pretrained = str(recipe.get("pretrained", "true")).lower()
        start = {"true": "pretrained towers", "false": "random"}.get(pretrained, f"pretrained {pretrained} tower")
    text_name = without_folders(recipe.get("text") or "DistilBERT")
    rows = [
        ["vision tower", f"{recipe.get('vision') or vision.architecture} (timm), {size[1]} × {size[2]} pixels"],
        ["of it frozen", f"the first {stages} stages, the stem first" if stages else "nothing"],
        ["text tower", f"{text_name}: {text.n_layers} layers of {text.dim}"],
        ["of it learned", "everything" if layers is None else f"its last {layers} of {text.n_layers} layers"],
        ["starting weights", start],
        ["fused features", f"{config.fusion_dim}"],
        ["parameters", f"{total:,}, of which {trainable:,} learned"],
        ["format", config.format_version],
    ]
    return Table(["part", "what"], rows, num_text_columns=2)


def imbalance(results: Mapping[str, Any]) -> str:
    """How much of the tested paintings the most frequent label of each task makes."""
    shares = []
    for task, scores in results.get("tasks", {}).items():
        support = {label: found["support"] for label, found in scores.get("per_label", {}).items()}
        if sum(support.values()):
            label = max(support, key=lambda name: support[name])
            shares.append(f"{task}: {label} {support[label] / sum(support.values()):.0%}")
    words = "Some labels are far more frequent than others, and a doubtful painting is drawn to the frequent ones."
    return f"{words} The most frequent label's share of the tested paintings: {'; '.join(shares) or NOT_MEASURED}."


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
    """Mean accuracy with each source alone, and without the words that name a label."""
    found = results.get("modalities", {})
    names = ("image+text", "image", "text", "image+masked text", "masked text")
    shown = [f"{modality_words(name)} {percent(found.get(name, {}).get('mean_accuracy'))}" for name in names]
    return f"Mean accuracy in percent: {', '.join(shown)}."


def recipe_yaml(recipe: Mapping[str, Any]) -> str:
    """The recipe as a file, without folders of the machine that trained."""
    return str(yaml.safe_dump(without_folders(dict(recipe)), sort_keys=False, allow_unicode=True, width=110)).strip()


def cost_lines(results: Mapping[str, Any]) -> list[str]:
    """What training and evaluation took, and on what."""
    measured = results.get("training") or {}
    lines = [
        f"{name.replace('_', ' ')}: {value:,}" if isinstance(value, int | float) else f"{name}: {value}"
        for name, value in measured.items()
        if isinstance(value, int | float | str)
    ]
    if lines:
        lines.append(f"trained on: {_machine(measured.get('environment') or results.get('environment') or {})}")
    else:
        lines = [f"time and memory of training: {NOT_MEASURED}"]
    evaluation = NOT_MEASURED
    if results.get("seconds"):
        machine = _machine(results.get("environment") or {})
        evaluation = f"{results['seconds']:,} s for {results['num_rows']:,} paintings and every view of them, on "
        evaluation += machine
    return [*lines, f"evaluation: {evaluation}"]


def _machine(environment: Mapping[str, Any]) -> str:
    name = environment.get("gpu") or environment.get("processor") or environment.get("platform")
    versions = [f"{name} {environment[name]}" for name in ("torch", "transformers", "timm") if environment.get(name)]
    words = f"{name}, {environment.get('cores')} cores" if name else "a machine that was not recorded"
    return f"{words} ({', '.join(versions)})" if versions else words


def calibration_error_table(results: Mapping[str, Any]) -> Table | None:
    """The calibration error of each task where no temperature was fitted; `None` where it was not measured."""
    errors = {task: scores.get("expected_calibration_error") for task, scores in results.get("tasks", {}).items()}
    if not any(error is not None for error in errors.values()):
        return None
    return Table(["task", "calibration error"], [[task, number(error)] for task, error in errors.items()])


def reproducing_commands(
    repo_id: str, recipe: Mapping[str, Any], results: Mapping[str, Any], is_miniature: bool
) -> Sequence[str]:
    """The command that trains and evaluates again, empty without a recipe, and the one that evaluates as it is."""
    data = without_folders(str(recipe.get("data") or results.get("data") or "DATA"))
    options = f"--data {data} --split {results.get('split', 'test')} --output_dir evaluation"
    if any("masked" in modality for modality in results.get("modalities", {})):
        options += " --mask_label_words"
    trained = without_folders(str(recipe.get("output_dir") or "outputs/model"))
    steps = [f"semart-hf miniature {data}"] if is_miniature else []
    steps += [
        "accelerate launch -m semart_hf.cli.train recipe.yaml",
        f"semart-hf evaluate --model {trained} {options}",
    ]
    return " && \\\n".join(steps) if recipe else "", f"semart-hf evaluate --model {repo_id} {options}"
