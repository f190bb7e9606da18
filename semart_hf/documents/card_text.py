"""Sentences of a model's card, made from a results file; what it lacks reads "not measured"."""

import re
from collections.abc import Mapping
from typing import Any

from semart_hf.model.modeling_semart import SemArtForArtClassification

from .result_tables import modality_words
from .table import NOT_MEASURED, Table, first_of, percent


def without_folders(value: object) -> object:
    """The value of a JSON file, with every absolute path, and every path that leads outside, cut to its last part."""
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and re.match(r"(/|\.\.?[/\\]|~[/\\]|[A-Za-z]:[/\\])\S", value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return value


def model_table(model: SemArtForArtClassification, recipe: Mapping[str, Any]) -> Table:
    """Towers, sizes and what of them learned."""
    config = model.config
    vision, text = config.vision_config, config.text_config
    _, height, width = (vision.pretrained_cfg or {}).get("input_size", ["?", "?", "?"])
    layers, stages = config.trainable_text_layers, config.frozen_vision_stages
    pretrained = str(recipe.get("pretrained", "true" if "vision" in recipe else "")).lower()
    starts = {"true": "pretrained towers", "false": "random", "": "not recorded"}
    parts = {
        "vision tower": f"{recipe.get('vision') or vision.architecture} (timm), {height} × {width} pixels",
        "of it frozen": f"the first {stages} stages, the stem first" if stages else "nothing",
        "text tower": f"{without_folders(recipe.get('text') or text.model_type)}: {text.num_hidden_layers} layers of "
        f"{text.hidden_size}",
        "of it learned": "everything" if layers is None else f"its last {layers} of {text.num_hidden_layers} layers",
        "starting weights": without_folders(recipe["init_from"])
        if recipe.get("init_from")
        else starts.get(pretrained, f"pretrained {pretrained} tower"),
        "fused features": str(config.fusion_dim),
        "parameters": f"{model.num_parameters():,}, of which {model.num_parameters(only_trainable=True):,} learned",
        "format": config.format_version,
    }
    return Table(["part", "what"], list(parts.items()), num_text_columns=2)


def imbalance(results: Mapping[str, Any]) -> str:
    """The share of each task's most frequent label among the tested paintings."""
    shares = []
    for task, scores in results.get("tasks", {}).items():
        support = {label: found["support"] for label, found in scores.get("per_label", {}).items()}
        # Of several labels the supports add up to more than the paintings.
        total = scores["num_rows"] if "mean_average_precision" in scores else sum(support.values())
        if sum(support.values()):
            label = max(support, key=lambda name: support[name])
            shares.append(f"{task}: {label} {support[label] / total:.0%}")
    return "; ".join(shares) or NOT_MEASURED


def worst_classes(results: Mapping[str, Any]) -> str:
    """The three labels with the lowest F1 of each task, by name, and those that the test did not contain."""
    lines = []
    for task, scores in results.get("tasks", {}).items():
        per_label = scores.get("per_label", {})
        tested = [label for label in per_label if per_label[label]["support"]]
        worst = sorted(tested, key=lambda label: per_label[label]["f1"])[:3]
        if worst:
            found = [f"{label} (F1 {per_label[label]['f1']:.2f} of {per_label[label]['support']})" for label in worst]
            untested = [label for label in per_label if label not in tested]
            missing = f"; not among the tested paintings: {first_of(untested)}" if untested else ""
            lines.append(f"{task}: {', '.join(found)}{missing}")
    return ". ".join(lines) or NOT_MEASURED


def giveaway(results: Mapping[str, Any]) -> str:
    """Mean accuracy with each source alone, and without the words that name a label."""
    found = results.get("modalities", {})
    names = ("image+text", "image", "text", "image+masked text", "masked text")
    return ", ".join(f"{modality_words(name)} {percent(found.get(name, {}).get('mean_accuracy'))}" for name in names)


def cost_lines(results: Mapping[str, Any]) -> list[str]:
    """What training and evaluation took, and on what."""
    measured = results.get("training") or {}
    lines = [
        f"{name.replace('_', ' ')}: {value if isinstance(value, str) else f'{value:,}'}"
        for name, value in measured.items()
        if isinstance(value, int | float | str)
    ]
    here, evaluation = results.get("environment") or {}, NOT_MEASURED
    if lines:
        lines.append(f"trained on: {_machine(measured.get('environment') or here)}")
    if results.get("seconds"):
        evaluation = f"{results['seconds']:,} s for {results['num_rows']:,} paintings and every view of them, on "
        evaluation += _machine(here)
    return [*(lines or [f"time and memory of training: {NOT_MEASURED}"]), f"evaluation: {evaluation}"]


def _machine(environment: Mapping[str, Any]) -> str:
    name = environment.get("gpu") or environment.get("processor") or environment.get("platform")
    versions = [f"{name} {environment[name]}" for name in ("torch", "transformers", "timm") if environment.get(name)]
    words = f"{name}, {environment.get('cores')} cores" if name else "a machine that was not recorded"
    return f"{words} ({', '.join(versions)})" if versions else words


def evaluation_options(recipe: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The options by which `semart-hf evaluate` scores again."""
    data = without_folders(str(recipe.get("data") or results.get("data") or "DATA"))
    masked = any("masked" in modality for modality in results.get("modalities", {}))
    options = f"--data {data} --split {results.get('split', 'test')} --output_dir evaluation"
    return options + " --mask_label_words" * masked
