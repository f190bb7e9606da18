"""A split with its labels numbered as a model numbers them."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import datasets
import yaml

from semart_hf.catalogue.catalogue import read_rows
from semart_hf.catalogue.rules import label_text
from semart_hf.catalogue.schema import UNKNOWN, labels_in
from semart_hf.catalogue.text import mask_label_words
from semart_hf.data.loading import is_release, load_paintings
from semart_hf.data.rows import cells_of_task, check_readable
from semart_hf.data.streaming import column_of, undecoded
from semart_hf.model.configuration_semart import is_multi_label

# A release's label is one to sort by from this count and share of the train split on, or of what there is without one;
# rarer ones are the literature's `UNK`.
FREQUENT_COUNT = 10
FREQUENT_SHARE = 0.01


def load_split(
    model: str | Path,
    data: str | Path,
    split: str,
    tasks: Sequence[Mapping[str, Any]],
    *,
    label_map: Mapping[str, Mapping[str, str | None]] | None = None,
    common_labels: bool = False,
    text_columns: Sequence[str] | None = None,
    with_masked_text: bool = False,
) -> datasets.Dataset:
    """The paintings of one split as a model reads them, their labels numbered as in its `config.tasks`.

    A rare label that the model does not know is its `UNK`; a frequent one is refused unless `label_map` says what it
    is to the model (`None`: it is left out of the scores), or `common_labels` leaves out all foreign ones and `UNK`.
    The text is of the columns that the model's recipe.yaml names, or of `text_columns`; `with_masked_text` adds the
    column `text_masked`, unless the data was prepared with one.
    """
    recipe = _trained_recipe(Path(model))
    own_labels, frequent = data_labels(data, tasks)
    if unknown := [name for name in label_map or {} if name not in own_labels]:
        raise ValueError(f"Got a label map of {unknown}. The model's tasks are {[*own_labels]}. Correct --map_labels.")
    own_tasks = [{**task, "labels": own_labels[task["name"]]} for task in tasks]
    splits = load_paintings(data, tasks=own_tasks, text_columns=text_columns or recipe.get("text_columns"))
    if split not in splits:
        raise ValueError(f"Got the split {split!r}. {data} has {list(splits)}. Pass --split with one of these.")
    paintings = splits[split]
    if with_masked_text and "text_masked" not in paintings.column_names:
        paintings = paintings.add_column("text_masked", list(masked_texts(paintings, own_tasks)))
    for task in tasks:
        name, labels = task["name"], list(task["labels"])
        numbers = {label: number for number, label in enumerate(labels)}
        changes = dict((label_map or {}).get(name, {}))
        for what, used, allowed in (("from", changes, own_labels[name]), ("to", changes.values(), [*labels, None])):
            if wrong := [label for label in used if label not in allowed]:
                raise ValueError(
                    f"Got a label map {what} the {name} labels {wrong}. Allowed are {allowed}. Correct --map_labels."
                )
        foreign = sorted(label for label in frequent[name] if label not in labels and label not in changes)
        if foreign and not common_labels:
            raise ValueError(
                f"Got {data} with the {name} labels {foreign}. The model knows {labels}. Pass --map_labels FILE with "
                f'{{"{name}": {{"{foreign[0]}": "{labels[0]}"}}}} to say what they are to the model, or '
                "--common_labels to score only the paintings whose label it knows."
            )
        by_own = {label: label if label in numbers else UNKNOWN for label in own_labels[name]} | changes
        if common_labels:
            by_own = {label: new for label, new in by_own.items() if new != UNKNOWN}
        cells = cells_of_task(paintings, {"name": name})
        if is_multi_label(task):
            found = (labels_in(cell, task.get("separator")) for cell in cells)
            column: Any = [cell and [by_own[one] for one in cell if by_own.get(one) in numbers] for cell in found]
            feature: Any = datasets.List(datasets.Value("string"))
        else:
            column = [numbers.get(by_own.get(cell)) for cell in cells]
            feature = datasets.ClassLabel(names=labels)
        paintings = paintings.remove_columns(name).add_column(name, column, feature=feature)
    # Data of texts alone name no picture, and are scored as such by a model that reads both.
    modality = recipe.get("modality", "image+text")
    if modality == "image" or ("image" in modality and any(paintings["image_file"])):
        check_readable(undecoded(paintings), split=split, modality="image", data=data)
    return paintings


def _trained_recipe(model: Path) -> dict[str, Any]:
    """The fields of the recipe in the model's folder; empty where there is none."""
    path = model / "recipe.yaml"
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    except yaml.YAMLError as error:
        raise ValueError(f"Got {path}, which is no YAML: {error}. Correct or remove it.") from error
    return recipe if isinstance(recipe, dict) else {}


def masked_texts(paintings: datasets.Dataset, tasks: Sequence[Mapping[str, Any]]) -> Iterator[str | None]:
    """Each painting's text without the words that name its labels or its painter."""
    columns: dict[str, Iterator[Any]] = {}
    for task in (*(task for task in tasks if task.get("column") not in ("author", "date")), {"name": "author"}):
        name, cells = task["name"], cells_of_task(paintings, {"name": task["name"]})
        # Each of several labels by itself.
        columns[name] = map(labels_in, cells, repeat(task.get("separator"))) if is_multi_label(task) else cells
    for text, *labels in zip(column_of(paintings, "text"), *columns.values(), strict=True):
        yield mask_label_words(text, dict(zip(columns, labels, strict=True)))


def data_labels(
    data: str | Path, tasks: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """By task, every label of the data with `UNK`, and those it is sorted by: the frequent or the declared ones."""
    every, frequent = dict[str, list[str]](), dict[str, list[str]]()
    splits: Mapping[str, Any] = read_rows(data).splits if is_release(data) else load_paintings(data)
    features = next(iter(splits.values())).features
    for task in tasks:
        name, source, rule = task["name"], task.get("column", task["name"]), task.get("rule")
        if source not in features:
            raise ValueError(
                f"Got {data} with the columns {list(features)}, but the model's task {name} has its labels in "
                f"{source!r}. Add the column to the data."
            )
        if isinstance(features[source], datasets.ClassLabel) and rule is None:
            frequent[name] = [label for label in features[source].names if label != UNKNOWN]
            every[name] = [*frequent[name], UNKNOWN]
            continue
        counts = {split: Counter(_labels(rows, task)) for split, rows in splits.items()}
        learned = counts.get("train", sum(counts.values(), Counter()))
        least = max(FREQUENT_COUNT, FREQUENT_SHARE * learned.total())
        every[name] = [*sorted({*chain(*counts.values())} - {UNKNOWN}), UNKNOWN]
        frequent[name] = [label for label, count in learned.items() if count >= least and label != UNKNOWN]
    return every, frequent


def _labels(rows: Any, task: Mapping[str, Any]) -> Iterator[str]:
    cells = cells_of_task(rows, task)
    if is_multi_label(task):
        return chain.from_iterable(labels_in(cell, task.get("separator")) or () for cell in cells)
    return (label for cell in cells if (label := label_text(cell, task.get("rule"))) is not None)


def seen_values(data: str | Path, column: str, split: str) -> list[bool | None]:
    """Whether train has what the column has in each row of a split, case and spaces aside; `None`: it has nothing."""
    splits: Any = read_rows(data).splits if is_release(data) else load_paintings(data)  # also without labels to learn
    both = (cells_of_task(rows, {"name": column}) for rows in (splits[split], splits.get("train", ())))
    values, learned = ([" ".join(str("" if one is None else one).casefold().split()) for one in some] for some in both)
    if not (known := {*learned} - {""}):
        raise ValueError(
            f"Got --unseen_by {column} for {data}, but it has no train split with that column to compare with. Give "
            "data with the train split that the model was trained on, or leave --unseen_by out."
        )
    return [value in known if value else None for value in values]


def read_label_map(path: str | Path) -> dict[str, dict[str, str | None]]:
    """The label map of a JSON file: `{"school": {"Flemish": "Netherlandish", "Greek": null}}`, or ValueError."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        labels = [label for changes in content.values() for label in changes.values()]
    except (ValueError, AttributeError):
        labels = [0]
    if not all(isinstance(label, str | None) for label in labels):
        raise ValueError(
            f"Got {path}, which is no JSON that maps labels by task. Allowed is "
            '{"school": {"Flemish": "Netherlandish", "Greek": null}}. Correct the file.'
        )
    return dict(content)
