"""The card of a model: metadata that the Hub reads, and a page whose every number comes from a results file."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2.meta import find_undeclared_variables

from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.modeling_semart import SemArtForArtClassification

from . import card_text
from .page import ENVIRONMENT
from .result_tables import (
    SHORT,
    calibration_table,
    modality_table,
    retrieval_table,
    retrieval_words,
    score_table,
    threshold_table,
    training_words,
    unreadable_words,
)
from .table import NOT_MEASURED, Table, first_of, percent

_METRICS = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "mean_average_precision": "Mean average precision",
    "micro_f1": "Micro F1",
}
EXAMPLE_TEXT = "A view of a town across the river, with boats in the evening light"
_EXAMPLE = re.compile(r"```python\n(.*?)\n```\s+```text\n(.*?)\n```", re.DOTALL)


class Example(NamedTuple):
    """The painting that the card shows, its picture by its file's name, and the pipeline's answer, ranked."""

    text: str | None
    picture: str | None
    answer: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of, besides the model.

    Args:
        repo_id: `user/name`.
        results: Contents of results files, the most important first; none: everything is "not measured".
        recipe: Fields of the recipe that trained the model; empty where that is not known.
        figures: Names of figures to their files in the repository, such as `figures/confusion_type.png`.
        data_name: What the training data are called; `None`: the name of their folder.
        license: Of the weights, as the Hub writes it.
    """

    repo_id: str
    example: Example
    results: Sequence[Mapping[str, Any]] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    data_name: str | None = None
    license: str = "apache-2.0"

    @property
    def is_miniature(self) -> bool:
        """Whether the training data are the painted miniature, as the results say; old ones by their ceilings."""
        for results in self.results:
            if recorded := results.get("training_data"):
                return bool(recorded.get("is_painted_miniature"))
        views = [view for results in self.results for view in results.get("modalities", {}).values()]
        return any("ceiling" in view for view in views)

    @property
    def named_data(self) -> str:
        """What the data are called in sentences."""
        source = self.recipe.get("data") or (self.results[0].get("data") if self.results else None)
        found = Path(str(source)).name if source else "unnamed paintings"
        return self.data_name or ("SemArt miniature" if self.is_miniature else found)

    def data_of(self, results: Mapping[str, Any]) -> str:
        """What the data of a results file are called: the training data's name, or their folder's."""
        recorded = (self.results[0].get("training_data") or {}).get("name")
        name = Path(str(results.get("data"))).name
        trained_on = self.recipe.get("data") or recorded or self.results[0].get("data")
        return self.named_data if name == Path(str(trained_on)).name else name

    @property
    def painting(self) -> dict[str, str]:
        """The example as the pipeline takes it, its picture by its address."""
        picture, text = self.example.picture, self.example.text
        image = {"image": file_url(self.repo_id, picture)} if picture else {}
        return image | ({"text": text} if text else {})

    @property
    def published_data(self) -> str:
        """The data's id in the metadata."""
        return re.sub(r"[^a-z0-9]+", "-", self.named_data.lower()).strip("-")


def render_card(model: SemArtForArtClassification, facts: CardFacts, template: Path) -> ModelCard:
    """The card, rendered from a template of Markdown such as semart_hf/templates/model_card.md."""
    if not template.is_file():
        raise ValueError(
            f"Got the card template {template}, which is no file. Allowed is a Markdown file with placeholders. Pass "
            "the path of semart_hf/templates/model_card.md."
        )
    context = _context(model, facts)
    source = template.read_text(encoding="utf-8")
    if unknown := sorted(find_undeclared_variables(ENVIRONMENT.parse(source)) - set(context)):
        raise ValueError(
            f"The card template {template} asks for {unknown}. Known are {sorted(context)}. Correct its placeholders."
        )
    return ModelCard(ENVIRONMENT.from_string(source).render(context))


def _context(model: SemArtForArtClassification, facts: CardFacts) -> dict[str, Any]:
    config, first = model.config, facts.results[0] if facts.results else {}
    miniature = {"training_data": {"is_painted_miniature": facts.is_miniature}}  # of a model that does not record it
    labels = [[task["name"], str(len(task["labels"])), first_of(task["labels"])] for task in config.tasks or []]
    recipe = card_text.without_folders(dict(facts.recipe))
    return {
        "card_data": _card_metadata(facts, config.task_names, config.text_config.model_type).to_yaml(),
        "repo_id": facts.repo_id,
        "title": facts.repo_id.split("/")[-1],
        "notice": config.training_notice or training_words(miniature),
        "tasks": config.task_names,
        "several": [task["name"] for task in config.tasks or [] if is_multi_label(task)],
        "painting": json.dumps(facts.painting, ensure_ascii=False, indent=4).replace("\n}", ",\n}"),
        "answer": facts.example.answer,
        "package_version": version("semart-hf"),
        "model_table": card_text.model_table(model, facts.recipe),
        "label_table": Table(["task", "labels", "in the order of the logits"], labels, num_text_columns=3),
        "imbalance": card_text.imbalance(first),
        "worst_classes": card_text.worst_classes(first),
        "giveaway": card_text.giveaway(first),
        "license": facts.license,
        "data_name": facts.named_data,
        "is_miniature": facts.is_miniature,
        "recipe": recipe,
        "recipe_yaml": yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=110).strip(),
        "cost": card_text.cost_lines(first),
        "results": [
            {
                "num_rows": f"{one['num_rows']:,}",
                "data": facts.data_of(one),
                "split": one.get("split", "unnamed"),
                "unreadable": unreadable_words(one),
                "exact_match": percent(one.get("exact_match"), one.get("intervals", {}).get("exact_match")),
                "scores": score_table(one, (*SHORT, "expected_calibration_error")),
                "modalities": modality_table(one),
                "retrieval": retrieval_table(one["retrieval"]) if "retrieval" in one else None,
                "retrieval_words": retrieval_words(one["retrieval"]) if "retrieval" in one else "",
            }
            for one in facts.results
        ],
        "figures": facts.figures,
        "calibration": calibration_table(first["calibration"]) if "calibration" in first else None,
        "fitted_on": first.get("calibration", {}).get("fitted_on") or "an earlier split",
        "thresholds": first.get("thresholds"),
        "threshold_table": threshold_table(first["thresholds"]) if first.get("thresholds") else None,
        "evaluation_options": card_text.evaluation_options(facts.recipe, first),
        "not_measured": NOT_MEASURED,
    }


def _card_metadata(facts: CardFacts, tasks: Sequence[str], text_family: str) -> ModelCardData:
    results = _eval_results(facts, tasks)
    return ModelCardData(
        language="en",
        license=facts.license,
        library_name="transformers",
        # The Hub makes the snippet `pipeline(TAG, model=…)` of it: "image-classification" would load a class that this
        # repository does not have. It stays among the tags, by which models are searched.
        pipeline_tag="art-classification",
        tags=["art", "paintings", "image-classification", "multimodal", "semart", "timm", text_family],
        datasets=[facts.published_data],
        metrics=["accuracy", "f1"],
        base_model=base_models(facts.recipe) or None,
        model_name=facts.repo_id.split("/")[-1] if results else None,
        eval_results=results or None,
        widget=[
            {
                "example_title": "A painting",
                **{{"image": "src"}.get(name, name): value for name, value in facts.painting.items()},
                "output": [
                    {"label": f"{task}: {ranked[0]['label']}", "score": round(ranked[0]["score"], 4)}
                    for task, ranked in facts.example.answer.items()
                ],
            }
        ],
    )


def base_models(recipe: Mapping[str, Any]) -> list[str]:
    """Hub ids of the towers that the model's weights began from, the vision tower's first."""
    if start := recipe.get("init_from"):
        return [start] if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(start)) and not Path(start).exists() else []
    pretrained = str(recipe.get("pretrained", "true")).lower()
    towers = [name for name in ("vision", "text") if recipe.get(name) and pretrained in ("true", name)]
    return [recipe[name] for name in towers if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(recipe[name]))]


def _eval_results(facts: CardFacts, tasks: Sequence[str]) -> list[EvalResult]:
    """Accuracy and macro F1 of each task with everything shown, then accuracies with each source alone."""
    entries = []
    for results in facts.results:
        data, split, alone = facts.data_of(results), results.get("split"), results.get("modalities", {})
        views = [(metric, words, "", results) for metric, words in _METRICS.items()]
        views += [("accuracy", "Accuracy", f", {one} alone", alone[one]) for one in ("image", "text") if one in alone]
        for metric, words, shown, scored in views:
            values = {task: scored["tasks"].get(task, {}).get(metric) for task in tasks}
            entries += [
                EvalResult(
                    task_type="image-classification",
                    task_name="Art classification",
                    dataset_type=facts.published_data if data == facts.named_data else data,
                    dataset_name=data,
                    dataset_split=split,
                    metric_type="f1" if metric.endswith("f1") else metric,
                    metric_name=f"{words} ({task}{shown})" + f", {data} {split}" * (len(facts.results) > 1),
                    metric_value=round(value, 4),
                )
                for task, value in values.items()
                if value is not None
            ]
    return entries


def file_url(repo_id: str, name: str) -> str:
    """Address of a repository's file."""
    return f"https://huggingface.co/{repo_id}/resolve/main/{name}"


def read_example(card: str) -> tuple[str, str] | None:
    """The first Python of a card and the output that it shows; `None` where it has none."""
    match = _EXAMPLE.search(card)
    return (match[1], match[2]) if match else None
