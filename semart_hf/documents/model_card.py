"""The card of a model: metadata that the Hub reads, and a page whose every number comes from a results file."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from semart_hf.evaluation.comparison import COMPARED_SCORES
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.modeling_semart import SemArtForArtClassification

from . import result_tables
from .page import render_page
from .result_tables import MINIATURE_NOTICE
from .table import NOT_MEASURED, Table, first_of

EXAMPLE_TEXT = "A view of a town across the river, with boats in the evening light"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of, besides the model; all that it says is published as it is."""

    repo_id: str  # `user/name`
    painting: Mapping[str, str]  # the example as the pipeline takes it, its picture by its address
    answer: Mapping[str, Sequence[Mapping[str, Any]]]  # the pipeline's, ranked
    results: Sequence[Mapping[str, Any]] = ()  # contents of results files, the most important first
    recipe: Mapping[str, Any] = field(default_factory=dict)  # that trained the model; empty where that is not known
    figures: Sequence[str] = ()  # names of the PNG files in the repository's figures/
    onnx: Mapping[str, Any] = field(default_factory=dict)  # onnx.json of the graphs in the repository's onnx/
    data_id: str | None = None  # of the training data on the Hub; `None`: made of their name
    data_name: str | None = None  # what the training data are called; `None`: the name of their folder
    license: str = "apache-2.0"  # of the weights, as the Hub writes it


def render_card(model: SemArtForArtClassification, facts: CardFacts) -> ModelCard:
    """The card, rendered from semart_hf/templates/model_card.md."""
    config, results, recorded = model.config, facts.results, model.config.training_data or {}
    first = results[0] if results else {}
    views = [view for one in results for view in one.get("modalities", {}).values()]
    # The data of a model from before they were recorded are known by the ceilings of its scores.
    is_miniature = bool(recorded.get("is_painted_miniature", any("ceiling" in view for view in views)))
    trained_on = _folder_name(facts.recipe.get("data") or recorded.get("name") or first.get("data"))
    data_name = facts.data_name or ("SemArt miniature" if is_miniature else trained_on)
    names = [_folder_name(one.get("data")) for one in results]
    scored = [(data_name if name == trained_on else name, one) for name, one in zip(names, results, strict=True)]
    labels = [[task["name"], str(len(task["labels"])), first_of(task["labels"])] for task in config.tasks or []]
    data = facts.recipe.get("data") or first.get("data") or "DATA"
    masked = " --mask_label_words" * any("masked" in view for view in first.get("modalities", {}))
    context = {
        "card_data": _metadata(model, facts, data_name, scored).to_yaml(),
        "facts": facts,
        "notice": config.training_notice or (MINIATURE_NOTICE if is_miniature else ""),
        "tasks": config.task_names,
        "several": [task["name"] for task in config.tasks or [] if is_multi_label(task)],
        "painting": json.dumps(facts.painting, ensure_ascii=False, indent=4).replace("\n}", ",\n}"),
        "package_version": version("semart-hf"),
        "model_table": _model_table(model, facts.recipe),
        "label_table": Table(["task", "labels", "in the order of the logits"], labels, num_text_columns=3),
        **_label_words(first),
        "data_name": data_name,
        "is_miniature": is_miniature,
        "recipe_yaml": yaml.safe_dump(dict(facts.recipe), sort_keys=False, allow_unicode=True, width=110).strip(),
        "cost": _cost_lines(first),
        "results": scored,
        "first": first,
        "tables": result_tables,
        "evaluation_options": f"--data {data} --split {first.get('split', 'test')} --output_dir evaluation{masked}",
    }
    return ModelCard(render_page("model_card.md", **context))


def _folder_name(data: object) -> str:
    return Path(str(data)).name if data else "unnamed paintings"


def _metadata(model: SemArtForArtClassification, facts: CardFacts, data_name: str, scored: list[Any]) -> ModelCardData:
    """What the Hub reads; `scored` pairs names of data with the contents of the results files measured on them."""
    data_id = facts.data_id or re.sub(r"[^a-z0-9]+", "-", data_name.lower()).strip("-") or "paintings"
    entries = []
    for data, results in scored:
        split, alone = results.get("split"), results.get("modalities", {})
        views = [(metric, words[0].upper() + words[1:], "", results) for metric, words in COMPARED_SCORES.items()]
        views += [("accuracy", "Accuracy", f", {one} alone", alone[one]) for one in ("image", "text") if one in alone]
        for (metric, words, shown, view), task in product(views, model.config.task_names):
            if (value := view["tasks"].get(task, {}).get(metric)) is not None:
                entry = EvalResult(
                    task_type="image-classification",
                    task_name="Art classification",
                    dataset_type=data_id if data == data_name else data,
                    dataset_name=data,
                    dataset_split=split,
                    metric_type="f1" if metric.endswith("f1") else metric,
                    metric_name=f"{words} ({task}{shown})" + f", {data} {split}" * (len(scored) > 1),
                    metric_value=round(value, 4),
                )
                entries.append(entry)
    text_family = model.config.text_config.model_type
    best = {task: ranked[0] for task, ranked in facts.answer.items()}
    output = [{"label": f"{task}: {one['label']}", "score": round(one["score"], 4)} for task, one in best.items()]
    example = {{"image": "src"}.get(name, name): value for name, value in facts.painting.items()}
    return ModelCardData(
        language="en",
        license=facts.license,
        library_name="transformers",
        # The Hub makes the snippet `pipeline(TAG, model=…)` of it: "image-classification" would load a class that this
        # repository does not have. It stays among the tags, by which models are searched.
        pipeline_tag="art-classification",
        tags=["art", "paintings", "image-classification", "multimodal", "semart", "timm", text_family],
        datasets=[data_id],
        metrics=["accuracy", "f1"],
        base_model=base_models(facts.recipe) or None,
        model_name=facts.repo_id.split("/")[-1] if entries else None,
        eval_results=entries or None,
        widget=[{"example_title": "A painting", **example, "output": output}],
    )


def base_models(recipe: Mapping[str, Any]) -> list[str]:
    """Hub ids of the towers that the model's weights began from, the vision tower's first."""
    if start := recipe.get("init_from"):
        return [start] if _HUB_ID.fullmatch(str(start)) and not Path(start).exists() else []
    pretrained = str(recipe.get("pretrained", "true")).lower()
    towers = [str(recipe.get(name)) for name in ("vision", "text") if pretrained in ("true", name)]
    return [tower for tower in towers if _HUB_ID.fullmatch(tower)]


def _model_table(model: SemArtForArtClassification, recipe: Mapping[str, Any]) -> Table:
    """Towers, sizes and what of them learned."""
    config = model.config
    vision, text = config.vision_config, config.text_config
    _, height, width = (vision.pretrained_cfg or {}).get("input_size", ["?", "?", "?"])
    layers, depth, stages = config.trainable_text_layers, text.num_hidden_layers, config.frozen_vision_stages
    pretrained = str(recipe.get("pretrained", "true" if "vision" in recipe else "")).lower()
    starts = {"true": "pretrained towers", "false": "random", "": "not recorded"}
    parts = {
        "vision tower": f"{recipe.get('vision') or vision.architecture} (timm), {height} × {width} pixels",
        "of it frozen": f"the first {stages} stages, the stem first" if stages else "nothing",
        "text tower": f"{recipe.get('text') or text.model_type}: {depth} layers of {text.hidden_size}",
        "of it learned": "everything" if layers is None else f"its last {layers} of {depth} layers",
        "starting weights": recipe.get("init_from") or starts.get(pretrained, f"pretrained {pretrained} tower"),
        "fused features": str(config.fusion_dim),
        "parameters": f"{model.num_parameters():,}, of which {model.num_parameters(only_trainable=True):,} learned",
        "format": config.format_version,
    }
    return Table(["part", "what"], list(parts.items()), num_text_columns=2)


def _label_words(results: Mapping[str, Any]) -> dict[str, str]:
    """By task the share of the most frequent label, and by name the worst three and those that were not tested."""
    frequent, worst = [], []
    for task, scores in results.get("tasks", {}).items():
        labels = scores.get("per_label", {})
        tested = sorted((label for label in labels if labels[label]["support"]), key=lambda label: labels[label]["f1"])
        if tested:
            most = max(tested, key=lambda label: labels[label]["support"])
            frequent.append(f"{task}: {most} {labels[most]['support'] / scores['num_rows']:.0%}")
            words = [f"{label} (F1 {labels[label]['f1']:.2f} of {labels[label]['support']})" for label in tested[:3]]
            untested = [label for label in labels if label not in tested]
            missing = f"; not among the tested paintings: {first_of(untested)}" if untested else ""
            worst.append(f"{task}: {', '.join(words)}{missing}")
    return {"imbalance": "; ".join(frequent) or NOT_MEASURED, "worst_classes": ". ".join(worst) or NOT_MEASURED}


def _cost_lines(results: Mapping[str, Any]) -> list[str]:
    """What training and evaluation took, and on what."""
    measured, here = results.get("training") or {}, results.get("environment") or {}
    values = {name: value for name, value in measured.items() if isinstance(value, int | float | str)}
    words = {name: value if isinstance(value, str) else f"{value:,}" for name, value in values.items()}
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in words.items()]
    lines += [f"trained on: {_machine(measured.get('environment') or here)}"] if lines else []
    evaluation = NOT_MEASURED
    if seconds := results.get("seconds"):
        evaluation = f"{seconds:,} s for {results['num_rows']:,} paintings and every view of them, on {_machine(here)}"
    return [*(lines or [f"time and memory of training: {NOT_MEASURED}"]), f"evaluation: {evaluation}"]


def _machine(environment: Mapping[str, Any]) -> str:
    name = environment.get("gpu") or environment.get("processor") or environment.get("platform")
    versions = [f"{name} {environment[name]}" for name in ("torch", "transformers", "timm") if environment.get(name)]
    words = f"{name}, {environment.get('cores')} cores" if name else "a machine that was not recorded"
    return f"{words} ({', '.join(versions)})" if versions else words
