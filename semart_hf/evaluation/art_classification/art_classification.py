"""The metric in the layout that `evaluate.load("<this folder>")` reads: a script named like its folder."""

from typing import Any

import datasets
import evaluate
import numpy as np

from semart_hf.evaluation.outcomes import Outcomes
from semart_hf.evaluation.scores import flatten_scores, score_outcomes

_INPUTS = """predictions and references: label indices (rows, tasks), -100 where a reference is unknown. The scores:
`type_accuracy`, `type_macro_f1`, ..., `mean_accuracy`, `mean_macro_f1`, `exact_match`, `num_rows`."""


class ArtClassification(evaluate.Metric):
    """Scores label indices of several tasks a painting.

    Args:
        tasks: Names of the columns, or the model's `config.tasks`, which adds dating scores.

    Example:
        >>> metric = ArtClassification(tasks=["type", "school"])
        >>> scores = metric.compute(predictions=[[0, 1], [1, 1]], references=[[0, 1], [0, -100]])
        >>> scores["type_accuracy"], scores["school_accuracy"]
        (0.5, 1.0)
    """

    def __init__(self, *args: Any, tasks: Any = ("type", "school", "timeframe", "medium"), **kwargs: Any):
        self.tasks = tasks
        super().__init__(*args, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        indices = datasets.List(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description="Accuracy, F1 and dating error of paintings classified by several tasks at once.",
            citation="Garcia & Vogiatzis 2018, How to Read Paintings (ECCV Workshops)",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": indices, "references": indices}),
        )

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        size = 1 + max(int(np.max(rows, initial=-1)) for rows in (predictions, references))
        labels = [f"label {number}" for number in range(size)]  # of tasks that are named alone
        tasks = [{"name": task, "labels": labels} if isinstance(task, str) else task for task in self.tasks]
        outcomes = Outcomes(tasks)
        outcomes.add(predictions, references)
        return flatten_scores(score_outcomes(outcomes))
