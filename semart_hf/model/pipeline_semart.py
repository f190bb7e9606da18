"""`pipeline("art-classification")`: paintings in, ranked labels for each task out."""

import itertools
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from numbers import Integral, Real
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import Pipeline
from transformers.dynamic_module_utils import custom_object_save

from .configuration_semart import is_multi_label
from .pictures_semart import PictureError, load_picture
from .processing_semart import is_single, picture_and_text, rows
from .techniques_semart import Technique, run_model, uses_bf16, weights_prepared_once

UNSURE = "unsure"
# On a CPU so many batches are worked on at a time: each takes memory of its own.
MOST_BATCHES = 4
# Paintings of a batch for each core of a CPU: of more, texts are padded to longer ones, and memory grows.
ROWS_PER_CORE = 8
_UPLOAD_OPTIONS = ("repo_id", "commit_message", "commit_description", "private", "token", "revision", "create_pr")
_CALL_OPTIONS = ("top_k", "tasks", "min_confidence")
_FEATURES = {"image": "pixel_values", "text": "input_ids"}
Answer = TypeVar("Answer")
Respond = Callable[[dict[str, Tensor]], dict[str, Any]]


class ArtClassificationPipeline(Pipeline):
    """Says type, school, timeframe and medium of paintings from pictures, descriptions or both.

    A painting is `{"image": …, "text": …}` with at least one of the two (`description` stands in for a missing
    `text`), or a picture alone, as `load_picture` takes it. NaN and blanks are missing; labels of tasks are not read.

    Args:
        model: It stays as it is.
        processor: The one that was saved with the model; a `ValueError` if it is another.
        precision: `fp32`, `bf16`, or `auto`: see `uses_bf16`.
        **options: Of `transformers.Pipeline`, and of a call.
    """

    _load_processor = True
    _load_image_processor = _load_video_processor = _load_feature_extractor = _load_tokenizer = False

    def __init__(self, model: Any, processor: Any = None, *, precision: str = "auto", **options: Any) -> None:
        super().__init__(model, processor=processor, **options)
        advice = "Allowed is the processor that was saved with the model. Load both from the same folder."
        if processor is None:
            raise ValueError(f"Got no processor. {advice}")
        num_tokens, num_known = len(processor.tokenizer), model.config.text_config.vocab_size
        if num_tokens > num_known:
            raise ValueError(f"The tokenizer has {num_tokens} tokens, the model's text tower {num_known}. {advice}")
        tower, crop = model.config.vision_config, processor.image_processor.crop_size
        cfg, made = tower.pretrained_cfg or {}, [crop["height"], crop["width"]]
        is_fixed = cfg.get("fixed_input_size") and not (tower.model_args or {}).get("dynamic_img_size")
        if is_fixed and made != (taken := list(cfg.get("input_size", ()))[1:]):
            raise ValueError(f"The processor makes pictures of {made} pixels, the model takes {taken} alone. {advice}")
        uses_bf16(model, precision)  # an unknown one is found now
        self.precision = precision

    def __call__(
        self,
        inputs: Any,
        *,
        on_error: str | None = None,
        batch_size: int | None = None,
        num_workers: int | None = None,
        **options: Any,
    ) -> Any:
        """A dict of task to ranked `[{"label", "score"}]` for each painting, in their order.

        One painting gives one dict. Many in memory (a list, a column, an array, a table) give a list, in batches of
        texts of like length. A dataset, a generator or any other iterable gives an iterator, until whose end the
        model's weights may not change.

        Args:
            inputs: A painting, or many.
            on_error: What becomes of a painting that cannot be read: `return` puts `{"error": …}` in its place and
                answers all others (default for many), `raise` ends the call (default for one).
            batch_size: At most so many paintings are answered together (default 1), and on a CPU `ROWS_PER_CORE` for
                each core that works on them, which is as fast as more.
            num_workers: Batches that threads work on side by side. Default: on a CPU a core each, at most
                `MOST_BATCHES`; else, and for batches of one painting, 1.
            **options: `top_k`, `tasks` and `min_confidence` of `postprocess`.

        Raises:
            ValueError: If an option is wrong, or a painting cannot be read and `on_error` is `raise`; or a TypeError.
        """
        shown = {**self._postprocess_params, **self._sanitize_parameters(**options)[2]}
        respond = partial(self.postprocess, **shown)
        answers = self._each(inputs, respond, on_error, batch_size, num_workers)
        return answers[0] if is_single(inputs) else answers

    def embed(self, paintings: Any, **options: Any) -> dict[str, Any]:
        """Vectors of `image` and `text` in one space, each a float32 array `(paintings, fusion_dim)`, and `answers`.

        Rows have unit length, or are zeros where a painting has no picture or no text. `errors` says by row what is
        wrong with paintings that cannot be read, of which all is zeros. `answers` are those of a call. Errors and the
        options `on_error`, `batch_size` and `num_workers` are those of a call too.
        """

        def respond(outputs: dict[str, Tensor]) -> dict[str, Any]:
            vectors = {modality: outputs[name] for modality, name in _FEATURES.items()}
            return {**vectors, "answer": self.postprocess(outputs, **self._postprocess_params)}

        responses = list(self._each(paintings, respond, **options))
        nothing = torch.zeros(1, self.model.config.fusion_dim)
        vectors = {
            modality: torch.cat([nothing[:0], *(one.get(modality, nothing) for one in responses)]).numpy()
            for modality in _FEATURES
        }
        errors = {row: one["error"] for row, one in enumerate(responses) if "error" in one}
        return {**vectors, "errors": errors, "answers": [one.get("answer", one) for one in responses]}

    def _each(
        self, inputs: Any, respond: Respond, on_error: Any = None, batch_size: Any = None, num_workers: Any = None
    ) -> Any:
        """The response to what `forward` gives of each painting alone, or its error."""
        if on_error not in (None, "return", "raise"):
            raise ValueError(f"on_error is {on_error!r}. Allowed are 'return' and 'raise'. Give one of these.")
        batch_size = (self._batch_size or 1) if batch_size is None else batch_size
        num_workers = self._num_workers if num_workers is None else num_workers
        for name, number, least in (("batch_size", batch_size, 1), ("num_workers", num_workers or 0, 0)):
            if not isinstance(number, Integral) or number < least:
                raise ValueError(f"{name} is {number!r}. Allowed are whole numbers from {least}. Give one of these.")
        if is_single(inputs):
            return self._batch([(None, inputs)], respond, raises=on_error != "return")
        if not num_workers:
            is_parallel = self.device.type == "cpu" and batch_size > 1
            num_workers = min(torch.get_num_threads(), MOST_BATCHES) if is_parallel else 1
        if self.device.type == "cpu":
            batch_size = min(batch_size, rows_at_once(num_workers))
        ready = weights_prepared_once(self.model)
        answer = partial(self._batch, respond=respond, raises=on_error == "raise", also=[ready])
        side_by_side = partial(answer_side_by_side, answer, batch_size=batch_size, num_threads=num_workers)
        paintings = rows(inputs)
        if not isinstance(paintings, list):
            return side_by_side(enumerate(paintings))
        numbered = sorted(enumerate(paintings), key=lambda pair: _text_length(pair[1]), reverse=True)
        found = dict(zip((row for row, _ in numbered), side_by_side(numbered), strict=True))
        return [found[row] for row in range(len(paintings))]

    def _batch(self, numbered: Sequence[Any], respond: Respond, *, raises: bool, also: Any = ()) -> list[Any]:
        found: dict[int, dict[str, Any]] = {}
        parts = {}
        for place, (row, painting) in enumerate(numbered):
            try:
                parts[place] = self._picture_and_text(painting)
            except Exception as error:  # whatever object was given
                message = str(error) if row is None else f"Painting {row}: {error}"
                if raises:
                    kinds = (PictureError, TypeError)
                    raise next((kind for kind in kinds if isinstance(error, kind)), ValueError)(message) from error
                found[place] = {"error": message}
        if parts:
            outputs = self.forward(self._inputs(*parts.values()), also=also)
            for at, place in enumerate(parts):
                found[place] = respond({name: values[at : at + 1] for name, values in outputs.items()})
        return [found[place] for place in range(len(numbered))]

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        names = self.model.config.task_names
        if unknown := sorted(set(options) - set(_CALL_OPTIONS)):
            allowed = [*_CALL_OPTIONS, "on_error", "batch_size", "num_workers"]
            raise TypeError(f"Got the unknown options {unknown}. Allowed are {allowed}. Correct the name.")
        top_k, tasks, least = (options.get(name) for name in _CALL_OPTIONS)
        if top_k not in (None, "auto") and (isinstance(top_k, bool) or not isinstance(top_k, Integral) or top_k < 1):
            raise ValueError(
                f"top_k is {top_k!r}. Allowed is a number of labels from 1, or None, or 'auto'. Give top_k=1."
            )
        by_task = least if isinstance(least, Mapping) else dict.fromkeys(names, least)
        if unknown := [task for task in by_task if task not in names]:
            raise ValueError(f"min_confidence names the tasks {unknown}. Allowed are {names}. Name these.")
        for least in by_task.values():
            if least is not None and not (isinstance(least, Real) and 0 <= float(least) <= 1):
                raise ValueError(
                    f"min_confidence is {least!r}. Allowed is a probability from 0 to 1, or None. Give 0.9."
                )
        if tasks is not None:
            tasks = list(tasks) if isinstance(tasks, list | tuple | set) else [tasks]
            unknown = [task for task in tasks if task not in names]
            if unknown or not tasks:
                raise ValueError(f"Got the tasks {tasks}; the model does not know {unknown}. Allowed are {names}.")
            options["tasks"] = [name for name in names if name in tasks]
        return {}, {}, options

    def preprocess(self, painting: Any) -> dict[str, Tensor]:
        """The model's inputs for one painting, which `forward` takes."""
        return self._inputs(self._picture_and_text(painting))

    def _inputs(self, *parts: tuple[Image.Image | None, str | None]) -> dict[str, Tensor]:
        pictures, texts = zip(*parts, strict=True)
        return dict(self.processor(images=list(pictures), text=list(texts)))

    def _picture_and_text(self, painting: Any) -> tuple[Image.Image | None, str | None]:
        image, text = picture_and_text(painting, self.model.config.task_names)
        least_side = self.processor.image_processor.least_side
        return None if image is None else load_picture(image, least_side=least_side), text

    def _forward(self, model_inputs: dict[str, Tensor], also: Sequence[Technique] = ()) -> dict[str, Tensor]:
        """Logits by task, and by an input's name its vectors of unit length, zeros in rows without it."""
        output = run_model(self.model, model_inputs, precision=self.precision, also=also)
        found = {task: values.float() for task, values in output.logits.items()}
        for modality, name in _FEATURES.items():
            vectors = F.normalize(output[f"{modality}_features"].float(), dim=-1)
            is_present = model_inputs.get(f"has_{modality}", torch.full_like(vectors[:, 0], name in model_inputs))
            found[name] = vectors * is_present.unsqueeze(1)
        return found

    def postprocess(
        self,
        model_outputs: Mapping[str, Tensor],
        top_k: int | str | None = "auto",
        tasks: Sequence[str] | None = None,
        min_confidence: float | Mapping[str, float | None] | None = None,
    ) -> dict[str, list[dict[str, Any]]]:
        """Each task's labels with their probabilities, the likeliest first, and of ordered ones the `position`.

        A `ValueError` if logits are not finite.

        Args:
            model_outputs: What `forward` gives of one painting: logits `(1, num_labels)` by task.
            top_k: At most so many labels a task; `None`: all. `auto`: five, but of a task with several labels all that
                reach their thresholds, which may be none.
            tasks: The tasks to answer; `None`: all.
            min_confidence: Where the answer is less probable than this (see `answer_of`), `{"label": "unsure"}` with
                its score stands before the ranked labels. One number, or numbers by task.
        """
        temperatures = getattr(self.model.config, "temperatures", None) or {}
        answers = {}
        for about in self.model.config.tasks:
            task = about["name"]
            if tasks is not None and task not in tasks:
                continue
            logits = model_outputs[task][0]
            if not torch.isfinite(logits).all():
                raise ValueError(
                    f"The logits of {task} are not finite: {logits.tolist()}. Allowed are numbers. Load the model "
                    "with dtype='float32', or train it again."
                )
            logits = logits / temperatures.get(task, 1.0)
            scores = logits.sigmoid() if is_multi_label(about) else torch.softmax(logits, dim=-1)
            labelled = zip(about["labels"], scores.tolist(), strict=True)
            ranked = sorted(labelled, key=itemgetter(1), reverse=True)
            chosen, confidence = answer_of(ranked, about)
            if top_k == "auto":
                ranked = [one for one in ranked if one[0] in chosen] if is_multi_label(about) else ranked[:5]
            else:
                ranked = ranked[:top_k]  # type: ignore[index]  # a number, or None
            places = dict(zip(about["labels"], about.get("positions") or (), strict=False))
            unit = {"unit": about["unit"]} if "unit" in about else {}
            answers[task] = [
                {"label": label, "score": score} | ({"position": places[label], **unit} if label in places else {})
                for label, score in ranked
            ]
            least = min_confidence.get(task) if isinstance(min_confidence, Mapping) else min_confidence
            if least is not None and confidence < least:
                answers[task].insert(0, {"label": UNSURE, "score": confidence})
        return answers

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, push_to_hub: bool = False, **options: Any
    ) -> None:
        """Write all that loads this pipeline again, and upload it with `push_to_hub`; the options are of both."""
        folder = Path(save_directory)
        upload = {name: options.pop(name) for name in _UPLOAD_OPTIONS if name in options}
        save_repository(self.model, self.processor, folder, **options)
        if push_to_hub:
            self.push_to_hub(upload.pop("repo_id", folder.name), **upload)


def save_repository(model: Any, processor: Any, folder: str | os.PathLike[str], **options: Any) -> Path:
    """The folder with what loads a model again: weights (by `save_pretrained`'s options), processor, and the code."""
    model.save_pretrained(folder, **options)
    processor.save_pretrained(folder)
    custom_object_save(ArtClassificationPipeline, folder)
    return Path(folder)


def answer_of(ranked: Sequence[tuple[str, float]], task: Mapping[str, Any]) -> tuple[list[str], float]:
    """The labels that are a task's answer, among all of them with their probabilities, and how probable it is.

    Of a task with several labels they reach their thresholds, and the probability is that of exactly these labels, as
    if each came independently of the others.

    Example:
        >>> answer_of([("river", 0.75), ("boat", 0.25)], {"kind": "multi_label", "labels": ["boat", "river"]})
        (['river'], 0.5625)
    """
    if not is_multi_label(task):
        return [ranked[0][0]], ranked[0][1]
    thresholds = dict(zip(task["labels"], task.get("thresholds") or [0.5] * len(task["labels"]), strict=True))
    chosen = [label for label, score in ranked if score >= thresholds[label]]
    return chosen, math.prod(score if score >= thresholds[label] else 1 - score for label, score in ranked)


def error_of(answer: Mapping[str, Any]) -> str | None:
    """Why a call has no answer to a painting; `None` where it has, even if a task is called `error`."""
    error = answer.get("error")
    # Paintings are numbered as they were given: whoever names them needs no number.
    return re.sub(r"^Painting \d+: ", "", error) if isinstance(error, str) else None


def rows_at_once(num_threads: int) -> int:
    """How many paintings each of so many threads works on together, on a CPU."""
    return ROWS_PER_CORE * max(1, torch.get_num_threads() // num_threads)


def answer_side_by_side(
    answer: Callable[[list[Any]], list[Answer]], rows: Iterable[Any], *, batch_size: int, num_threads: int
) -> Iterator[Answer]:
    """The answers to rows, in order, while threads work on `num_threads` batches, each with its share of the cores."""
    cores = torch.get_num_threads()
    remaining = iter(rows)
    batches = iter(lambda: list(itertools.islice(remaining, batch_size)), [])
    if num_threads == 1:
        for batch in batches:
            yield from answer(batch)
        return
    waiting: deque[Future[list[Answer]]] = deque()
    pool = ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(max(1, cores // num_threads),))
    try:
        for batch in batches:
            waiting.append(pool.submit(answer, batch))
            if len(waiting) > num_threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # what a thread sets is where every later one begins


def _text_length(painting: Any) -> int:
    """Characters of a painting's text; 0 where it has none, or is no painting."""
    texts = [painting.get(key) for key in ("text", "description")] if isinstance(painting, Mapping) else []
    return next((len(text) for text in texts if isinstance(text, str)), 0)
