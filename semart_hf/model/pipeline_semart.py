"""`pipeline("art-classification")`: paintings in, ranked labels for each task out."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from types import GeneratorType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset
from transformers import Pipeline
from transformers.dynamic_module_utils import custom_object_save

from .batches_semart import answer_side_by_side
from .pictures_semart import load_picture
from .precision_semart import uses_bf16
from .techniques_semart import run_model

UNSURE = "unsure"
# On a CPU so many batches are worked on at a time, where there are as many cores: each takes memory of its own.
MOST_BATCHES = 4
_UPLOAD_OPTIONS = ("repo_id", "commit_message", "commit_description", "private", "token", "revision", "create_pr")


class ArtClassificationPipeline(Pipeline):
    """Says type, school, timeframe and medium of paintings from pictures, descriptions or both.

    A painting is `{"image": …, "text": …}` with at least one of the two (`description` stands in for a missing
    `text`; further columns are ignored), or a picture alone: a path, an http(s) URL, bytes or a PIL picture. A text
    alone is `{"text": …}`, never a bare string.

    Args:
        model: The model; `save_pretrained` writes its weights as they are.
        processor: The one that was saved with the model.
        precision: What it computes in: `fp32`, `bf16`, or `auto`, which is bf16 where the hardware multiplies in it. A
            model that was loaded in another `dtype` than float32 computes in that.
        **options: Options of `transformers.Pipeline`, and of a call.

    Raises:
        ValueError: If there is no processor, or another model's, or the precision is unknown.
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_video_processor = False
    _load_tokenizer = False

    def __init__(self, model: Any, processor: Any = None, *, precision: str = "auto", **options: Any) -> None:
        if processor is None:
            raise ValueError(
                "Got no processor. Allowed is the SemArtProcessor that was saved with the model. Call "
                "pipeline('art-classification', model=folder), or give AutoProcessor.from_pretrained(folder)."
            )
        super().__init__(model, processor=processor, **options)
        _check_that_they_belong_together(model.config, processor)
        uses_bf16(model, precision)  # an unknown one is found now
        self.precision = precision

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """A dict of task to ranked `[{"label", "score"}]` for each painting, in their order.

        One painting gives one dict and a list gives a list; a generator, a dataset or any other iterable gives an
        iterable that reads on as it is asked. The batches of a list are formed of texts of like length, so that little
        of a batch is padding.

        Args:
            inputs: A painting, or many.
            **options: `top_k` (default 5; `None`: all labels), `tasks` (default: all), `min_confidence` (see
                `postprocess`), `batch_size`, and `num_workers`: on a GPU, processes that read pictures ahead (default
                0); on a CPU, batches that threads work on side by side (default: a core each, 4 at most).
        """
        if _is_painting(inputs):
            return super().__call__(inputs, **options)
        if isinstance(inputs, list):
            order = sorted(range(len(inputs)), key=lambda row: _text_length(inputs[row]), reverse=True)
            # The base class looks into the first of a list.
            answers = super().__call__([inputs[row] for row in order], **options) if inputs else []
            return [answer for _, answer in sorted(zip(order, answers, strict=True), key=lambda pair: pair[0])]
        if isinstance(inputs, GeneratorType | Dataset):
            return super().__call__(inputs, **options)
        if isinstance(inputs, Sized) and hasattr(inputs, "__getitem__"):
            return super().__call__(_Rows(inputs), **options)
        if isinstance(inputs, Iterable):
            return super().__call__((row for row in inputs), **options)
        raise TypeError(
            f"Got a {type(inputs).__name__}. Allowed are a painting (a picture, or {{'image': …, 'text': …}}), and "
            "lists, generators and datasets of paintings. Wrap what you have in one of these."
        )

    def get_iterator(
        self,
        inputs: Any,
        num_workers: int,
        batch_size: int,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> Any:
        """The answers to many paintings, in their order: on a CPU from threads, on a GPU as the base class does it."""
        num_threads = num_workers or min(torch.get_num_threads(), MOST_BATCHES)
        if self.device.type != "cpu" or batch_size == 1 or num_threads == 1:
            return super().get_iterator(
                inputs, num_workers, batch_size, preprocess_params, forward_params, postprocess_params
            )

        def answer(paintings: list[Any]) -> list[Any]:
            outputs = self.forward(self._inputs(paintings))
            rows = ({task: logits[row : row + 1] for task, logits in outputs.items()} for row in range(len(paintings)))
            return [self.postprocess(row, **postprocess_params) for row in rows]

        is_indexed = isinstance(inputs, Dataset) and not isinstance(inputs, IterableDataset)
        rows = map(inputs.__getitem__, range(len(inputs))) if is_indexed else inputs
        return answer_side_by_side(answer, rows, batch_size=batch_size, num_threads=num_threads)

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        allowed = ("top_k", "tasks", "min_confidence")
        unknown = sorted(set(options) - set(allowed))
        if unknown:
            raise TypeError(
                f"Got the unknown options {unknown}. Allowed are {[*allowed, 'batch_size', 'num_workers']}. Correct "
                "the name."
            )
        top_k = options.get("top_k")
        if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise ValueError(
                f"top_k is {top_k!r}. Allowed is a number of labels from 1, or None for all. Give top_k=1."
            )
        _check_min_confidence(options.get("min_confidence"), self.model.config.task_names)
        if options.get("tasks") is not None:
            names = self.model.config.task_names
            tasks = [options["tasks"]] if isinstance(options["tasks"], str) else list(options["tasks"])
            unknown = [task for task in tasks if task not in names]
            if unknown or not tasks:
                raise ValueError(
                    f"Got the tasks {tasks}, of which the model does not know {unknown}. Allowed are {names}. Name "
                    "one of them or more."
                )
            options["tasks"] = [name for name in names if name in tasks]
        return {}, {}, options

    def preprocess(self, painting: Any) -> dict[str, Tensor]:
        """The model's inputs for one painting, absent parts padded, so that paintings can be joined to a batch.

        Raises:
            ValueError: If the painting has neither a picture nor a text.
        """
        return self._inputs([painting])

    def _inputs(self, paintings: Sequence[Any]) -> dict[str, Tensor]:
        parts = [_parts(painting) for painting in paintings]
        for painting, (image, text) in zip(paintings, parts, strict=True):
            if image is None and (text is None or not str(text).strip()):
                raise ValueError(
                    "Got a painting with neither a picture nor a text. Allowed are {'image': …}, {'text': …} or both. "
                    f"Leave the painting out, or look into its columns {_columns(painting)}."
                )
        least_side = getattr(self.processor.image_processor, "least_side", None)
        pictures = [None if image is None else load_picture(image, least_side=least_side) for image, _ in parts]
        return dict(self.processor(images=pictures, text=[text for _, text in parts], pad_absent=True))

    def _forward(self, model_inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        inputs = dict(model_inputs)
        for mask, names in (("has_image", ["pixel_values"]), ("has_text", ["input_ids", "attention_mask"])):
            is_present = inputs[mask]
            if is_present.all():
                del inputs[mask]
            elif not is_present.any():
                for name in (mask, *names):
                    del inputs[name]
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        # Flat, because the base class takes a batch apart by its keys.
        logits = run_model(self.model, inputs, precision=self.precision).logits
        return {task: values.float() for task, values in logits.items()}

    def postprocess(
        self,
        model_outputs: Mapping[str, Tensor],
        top_k: int | None = 5,
        tasks: Sequence[str] | None = None,
        min_confidence: float | Mapping[str, float | None] | None = None,
    ) -> dict[str, list[dict[str, Any]]]:
        """Each task's labels with their probabilities, the likeliest first.

        Args:
            model_outputs: Logits `(1, num_labels)` by task.
            top_k: At most so many labels a task; `None`: all.
            tasks: The tasks to answer; `None`: all.
            min_confidence: Where the likeliest label is less probable than this, `{"label": "unsure"}` with its score
                is put before the ranked labels. By task, if each has its own; one that is left out is never unsure.

        Raises:
            ValueError: If a logit is NaN or infinite.
        """
        temperatures = getattr(self.model.config, "temperatures", None) or {}
        answers = {}
        for task in tasks or self.model.config.task_names:
            logits = model_outputs[task][0]
            if not torch.isfinite(logits).all():
                raise ValueError(
                    f"The logits of {task} are not finite: {logits.tolist()}. Allowed are numbers. Load the model "
                    "with dtype='float32'; if that does not help, its weights are damaged or its training diverged."
                )
            scores = torch.softmax(logits / temperatures.get(task, 1.0), dim=-1)
            ranked = torch.sort(scores, descending=True, stable=True)
            labels = self.model.config.labels(task)
            answer = [
                {"label": labels[index], "score": score}
                for score, index in zip(ranked.values.tolist(), ranked.indices.tolist(), strict=True)
            ][:top_k]
            least = min_confidence.get(task) if isinstance(min_confidence, Mapping) else min_confidence
            if least is not None and answer[0]["score"] < least:
                answer.insert(0, {"label": UNSURE, "score": answer[0]["score"]})
            answers[task] = answer
        return answers

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, push_to_hub: bool = False, **options: Any
    ) -> None:
        """Write everything that loads this pipeline again: weights, processor, and the code of both and of this class.

        Args:
            save_directory: The folder, made where it is missing.
            push_to_hub: Whether to upload it as well, as `repo_id` (default: the folder's name).
            **options: Options of the model's `save_pretrained` and of `push_to_hub`.
        """
        folder = Path(save_directory)
        upload = {name: options.pop(name) for name in _UPLOAD_OPTIONS if name in options}
        save_repository(self.model, self.processor, folder, **options)
        if push_to_hub:
            self.push_to_hub(upload.pop("repo_id", folder.name), **upload)


def save_repository(model: Any, processor: Any, folder: str | os.PathLike[str], **options: Any) -> None:
    """Write what loads a model again: its weights, its processor, and the code of both and of the pipeline.

    Args:
        model: A SemArt model; it stays as it is.
        processor: Its processor.
        folder: Made where it is missing.
        **options: Options of the model's `save_pretrained`.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, **options)
    processor.save_pretrained(folder)
    custom_object_save(ArtClassificationPipeline, folder)


class _Rows(Dataset[Any]):
    """A sequence of paintings in the form that the base class reads row by row, in workers too."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


def _check_that_they_belong_together(config: Any, processor: Any) -> None:
    num_tokens, num_embeddings = len(processor.tokenizer), config.text_config.vocab_size
    if num_tokens > num_embeddings:
        raise ValueError(
            f"The processor's tokenizer has {num_tokens} tokens, the model's text tower {num_embeddings}. Allowed "
            "is the processor that was saved with the model. Load both from the same folder."
        )
    tower = config.vision_config
    cfg = getattr(tower, "pretrained_cfg", None) or {}
    is_fixed = cfg.get("fixed_input_size") and not (tower.model_args or {}).get("dynamic_img_size")
    crop = processor.image_processor.crop_size
    made, taken = [crop["height"], crop["width"]], list(cfg.get("input_size", ()))[1:]
    if is_fixed and made != taken:
        raise ValueError(
            f"The processor makes pictures of {made} pixels, but the model's vision tower takes {taken} alone. "
            "Allowed is the processor that was saved with the model. Load both from the same folder."
        )


def _check_min_confidence(min_confidence: float | Mapping[str, float | None] | None, task_names: list[str]) -> None:
    by_task = min_confidence if isinstance(min_confidence, Mapping) else dict.fromkeys(task_names, min_confidence)
    unknown = [task for task in by_task if task not in task_names]
    if unknown:
        raise ValueError(
            f"min_confidence names the tasks {unknown}. Allowed are {task_names}. Name these, or give one number for "
            "all."
        )
    for least in by_task.values():
        if least is not None and not 0 <= least <= 1:
            raise ValueError(f"min_confidence is {least!r}. Allowed is a probability from 0 to 1, or None. Give 0.9.")


def _is_painting(value: Any) -> bool:
    files = (str, bytes, bytearray, memoryview, os.PathLike)
    return isinstance(value, (*files, Image.Image, np.ndarray, Tensor, Mapping))


def _parts(painting: Any) -> tuple[Any, Any]:
    """Picture and text of a painting, `None` where it has none."""
    if not isinstance(painting, Mapping) or set(painting) == {"bytes", "path"}:
        return painting, None
    if not {"image", "text", "description"} & set(painting):
        raise ValueError(
            f"Got a painting with the keys {_columns(painting)}. Allowed are 'image', 'text' and 'description', at "
            "least one of them. Rename the columns."
        )
    text = painting.get("text")
    return painting.get("image"), painting.get("description") if text is None else text


def _text_length(painting: Any) -> int:
    """Characters of a painting's text; 0 where it has none, or is no painting, of which `preprocess` speaks."""
    texts = [painting.get(key) for key in ("text", "description")] if isinstance(painting, Mapping) else []
    return next((len(text) for text in texts if isinstance(text, str)), 0)


def _columns(painting: Any) -> list[str]:
    return sorted(map(str, painting)) if isinstance(painting, Mapping) else []
