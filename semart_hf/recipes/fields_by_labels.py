"""Fields of a recipe that depend on how many labels there are to learn from."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from semart_hf.data.labels import label_counts

from .recipe import parse_recipe

# What has had its effect before labels can be counted.
_READ_BEFORE = {"data", "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "streaming", "from_labels"}
_READ_BEFORE |= {"tasks", "text_columns", "min_label_count", "max_train_rows", "seed", "precision", "bf16"}


def labels_per_task(rows: Any, tasks: Sequence[Mapping[str, Any]]) -> int:
    """How many of the rows have a known label, in the mean over the tasks."""
    counts = label_counts(rows, tasks).values()
    return round(sum(int(found.sum()) // (found.shape[1] if found.ndim > 1 else 1) for found in counts) / len(tasks))


def with_fields_by_labels(parts: Sequence[Any], num_labels: int) -> tuple[list[Any], str | None]:
    """The model, data and training arguments with the fields of `from_labels` for so many labels, and what was chosen.

    The arguments that are given stay as they are; what was chosen is `None` where a recipe has no `from_labels`.
    """
    _, data, training = parts
    if (table := training.from_labels) is None:
        return [*parts], None
    chosen = [copy(part) for part in parts]
    least = 0
    for number, fields in sorted(table.items(), key=lambda entry: str(entry[0]).zfill(12)):
        if not str(number).isdigit() or not isinstance(fields, dict) or _READ_BEFORE & {*fields}:
            raise ValueError(
                f"from_labels has {number}: {fields}, but it maps numbers of labels to tables of fields other than "
                f"{sorted(_READ_BEFORE)}. Write e.g. from_labels: {{200: {{num_train_epochs: 8}}}}."
            )
        checked = parse_recipe([type(part) for part in parts], {"data": data.data, **fields})
        if num_labels < int(number):
            continue
        least = int(number)
        for part, source in zip(chosen, checked, strict=True):
            for name in fields:
                if hasattr(part, name):
                    setattr(part, name, getattr(source, name))
    share = f"those from {least} on" if least else "those for few"
    return chosen, f"{num_labels:,d} labels a task: of the recipe's fields, {share}"
