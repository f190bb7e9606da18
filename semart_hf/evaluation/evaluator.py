"""The `evaluate` library's evaluator for art classification: a model or pipeline, data and a metric become scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Literal

import datasets
import evaluate
import numpy as np
from transformers import AutoProcessor, Pipeline, PreTrainedModel, pipeline

from semart_hf.catalogue.vocabulary import UNKNOWN
from semart_hf.data.loading import load_paintings
from semart_hf.model.processing_semart import SemArtProcessor

from .intervals import CONFIDENCE_LEVEL, resampled_scores
from .metrics import ArtClassificationMetric
from .outcomes import MISSING, Outcomes

Scores = dict[str, Any]


class ArtClassificationEvaluator(evaluate.Evaluator):
    """Scores of a pipeline on paintings, in the manner of `evaluate.evaluator(...)`.

    Example:
        >>> evaluator = ArtClassificationEvaluator()
        >>> evaluator.compute(model_or_pipeline="outputs/model", data="outputs/release", split="test")
    """

    PIPELINE_KWARGS = {"top_k": None}  # noqa: RUF012  the base class's own attribute

    def __init__(self, task: str = "art-classification", default_metric_name: str | None = None):
        super().__init__(task, default_metric_name=default_metric_name)

    def compute(
        self,
        model_or_pipeline: str | PreTrainedModel | Pipeline | None = None,
        data: str | datasets.Dataset | None = None,
        subset: str | None = None,
        split: str | None = None,
        metric: str | evaluate.EvaluationModule | None = None,
        tokenizer: Any = None,
        feature_extractor: Any = None,
        strategy: Literal["simple", "bootstrap"] = "simple",
        confidence_level: float = CONFIDENCE_LEVEL,
        n_resamples: int = 999,
        device: int | None = None,
        random_state: int | None = None,
        input_column: str = "image",
        second_input_column: str = "text",
        label_column: str | Sequence[str] | None = None,
        label_mapping: Mapping[str, int] | None = None,
    ) -> Scores:
        """Flat scores such as `type_accuracy` and `mean_macro_f1`, and the time that the pipeline took.

        With `strategy="bootstrap"` every score is `{"score", "confidence_interval", "standard_error"}`. The labels'
        columns are those of the pipeline's tasks unless `label_column` names them in the tasks' order; their labels
        are matched by name, or by `label_mapping`, which gives the model's number of a label. A model that was not
        loaded from its folder needs its processor, as `feature_extractor` or as `tokenizer`.

        Raises:
            ValueError: There is no model or no processor, or the data has no such columns, split or labels.
        """
        pipe = self.prepare_pipeline(
            model_or_pipeline, tokenizer=tokenizer, feature_extractor=feature_extractor, device=device
        )
        tasks = pipe.model.config.tasks
        paintings = self.load_data(data, subset=subset, split=split)
        columns = [task["name"] for task in tasks] if label_column is None else label_column
        columns = [columns] if isinstance(columns, str) else list(columns)
        metric_inputs, pipe_inputs = self.prepare_data(
            paintings,
            input_column=input_column,
            second_input_column=second_input_column,
            label_column=columns,
            tasks=tasks,
            label_mapping=label_mapping,
        )
        if metric is None and self.default_metric_name is None:
            metric = ArtClassificationMetric(tasks=tasks)
        predictions, performance = self.call_pipeline(pipe, pipe_inputs)
        metric_inputs.update(self.predictions_processor(predictions, tasks))
        scores = self.prepare_metric(metric).compute(**metric_inputs)
        if strategy == "bootstrap":
            outcomes = Outcomes(tasks)
            outcomes.add(metric_inputs["predictions"], metric_inputs["references"])
            (resampled,) = resampled_scores([outcomes], num_resamples=n_resamples, seed=random_state or 0)
            scores = {
                name: _with_interval(value, resampled.get(name), confidence_level) for name, value in scores.items()
            }
        return {**scores, **performance}

    def prepare_pipeline(
        self,
        model_or_pipeline: Any,
        tokenizer: Any = None,
        feature_extractor: Any = None,
        device: int | None = None,
    ) -> Pipeline:
        """The pipeline, built where a model, or its folder or name, was given.

        Raises:
            ValueError: Nothing was given, a model without its processor, a processor for a pipeline that has one, or
                another task's pipeline.
        """
        processor = feature_extractor if feature_extractor is not None else tokenizer
        if processor is not None and not isinstance(processor, SemArtProcessor):
            raise ValueError(
                f"Got a {type(processor).__name__} as tokenizer or feature_extractor. The model's processor, which "
                "does the work of both, is allowed. Pass feature_extractor=AutoProcessor.from_pretrained(...)."
            )
        if isinstance(model_or_pipeline, Pipeline):
            self.check_for_mismatch_in_device_setup(device, model_or_pipeline)
            if model_or_pipeline.task not in (self.task, ""):
                raise ValueError(
                    f"Got a pipeline for {model_or_pipeline.task!r}. One for {self.task!r} is needed. Call "
                    f"pipeline({self.task!r}, model=...)."
                )
            if processor is not None:
                raise ValueError(
                    "Got a processor beside a pipeline, which has its own. Leave it out, or build the pipeline with "
                    "the processor that you want."
                )
            return model_or_pipeline
        if not isinstance(model_or_pipeline, str | PreTrainedModel):
            raise ValueError(
                f"Got a {type(model_or_pipeline).__name__}. A pipeline, a model, or the folder or name of one is "
                f"allowed. Pass pipeline({self.task!r}, model=...)."
            )
        device = self._infer_device() if device is None else device
        if processor is None:
            processor = self._processor_of(model_or_pipeline)
        return pipeline(
            self.task, model=model_or_pipeline, processor=processor, device=device, trust_remote_code=False
        )

    def _processor_of(self, model: str | PreTrainedModel) -> Any:
        """The processor from where the model was loaded."""
        source = model if isinstance(model, str) else model.name_or_path
        if not source:
            raise ValueError(
                "Got a model alone, and its processor was not loaded with it from a folder. Pass "
                f"feature_extractor=processor, or pipeline({self.task!r}, model=..., processor=...)."
            )
        return AutoProcessor.from_pretrained(source, trust_remote_code=False)

    def load_data(self, data: Any, subset: str | None = None, split: str | None = None) -> datasets.Dataset:
        """The paintings of a split, the test split unless another is named.

        Raises:
            ValueError: There are no such paintings.
        """
        if isinstance(data, datasets.Dataset):
            return data
        if subset is not None or not isinstance(data, str):
            raise ValueError(
                f"Got data of type {type(data).__name__} and subset={subset!r}. A dataset, or the folder or name of "
                "one without subsets, is allowed. Load it first and pass the split."
            )
        splits = load_paintings(data)
        split = split or "test"
        if split not in splits:
            raise ValueError(f"Got the split {split!r}. {data} has {list(splits)}. Pass split= with one of these.")
        return splits[split]

    def prepare_data(
        self,
        data: datasets.Dataset,
        input_column: str = "image",
        label_column: Sequence[str] = (),
        *_: Any,
        second_input_column: str = "text",
        tasks: Sequence[Mapping[str, Any]] = (),
        label_mapping: Mapping[str, int] | None = None,
    ) -> tuple[dict[str, Any], datasets.Dataset]:
        """The references (rows, tasks) for the metric, and rows of `image` and `text` for the pipeline.

        Raises:
            ValueError: A column is missing, or a label is not in the model's vocabulary.
        """
        present = {"image": input_column, "text": second_input_column}
        present = {name: column for name, column in present.items() if column in data.column_names}
        missing = [column for column in label_column if column not in data.column_names]
        if missing or not present:
            raise ValueError(
                f"Got data with the columns {data.column_names}. {list(label_column)} and at least one of "
                f"{[input_column, second_input_column]} are needed. Name them with input_column=, "
                "second_input_column= and label_column=."
            )
        references = [
            _references(data, column, task, label_mapping) for column, task in zip(label_column, tasks, strict=True)
        ]
        inputs = data.select_columns(list(present.values()))
        inputs = inputs.rename_columns({column: name for name, column in present.items() if column != name})
        if "image" in present:
            inputs = inputs.cast_column("image", datasets.Image(decode=False))
        return {"references": np.array(references, dtype=np.int64).T}, inputs

    def call_pipeline(self, pipe: Pipeline, *args: Any, **kwargs: Any) -> tuple[list[Any], Scores]:
        """The pipeline's answers to all paintings, and how long they took."""
        start = perf_counter()
        answers = list(pipe(*args, **kwargs, **self.PIPELINE_KWARGS))
        return answers, self._compute_time_perf(start, perf_counter(), len(answers))

    def predictions_processor(self, predictions: Sequence[Any], tasks: Any = (), **_: Any) -> dict[str, Any]:
        """Ranked labels become probabilities (rows, labels) by task, in the order of the vocabulary."""
        probabilities = {}
        for task in tasks:
            ranked = [{guess["label"]: guess["score"] for guess in answer[task["name"]]} for answer in predictions]
            probabilities[task["name"]] = np.array([[scores[label] for label in task["labels"]] for scores in ranked])
        return {"predictions": probabilities}


def _references(
    data: datasets.Dataset, column: str, task: Mapping[str, Any], label_mapping: Mapping[str, int] | None
) -> list[int]:
    """The model's numbers of a column's labels, -100 where unknown."""
    labels, feature = list(task["labels"]), data.features[column]
    mapping = dict(label_mapping or {label: number for number, label in enumerate(labels)})
    numbers = []
    for value in data[column]:
        name = feature.int2str(value) if isinstance(feature, datasets.ClassLabel) and value is not None else value
        if name is None or name == MISSING:
            numbers.append(MISSING)
        elif isinstance(name, int):
            numbers.append(name)
        elif name in mapping or UNKNOWN in mapping:
            numbers.append(mapping.get(name, mapping.get(UNKNOWN, MISSING)))
        else:
            raise ValueError(
                f"Got the {task['name']} label {name!r}. The model knows {labels}. Map it with label_mapping=, or "
                "leave these paintings out."
            )
    return numbers


def _with_interval(value: float, resampled: Any, confidence_level: float) -> float | dict[str, Any]:
    if resampled is None:
        return value
    tail = 100 * (1 - confidence_level) / 2
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    return {
        "score": value,
        "confidence_interval": (float(low), float(high)),
        "standard_error": float(np.nanstd(resampled, ddof=1)),
    }
