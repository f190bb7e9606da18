"""Rows of paintings become the model's inputs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semart_hf.data.augmentation import Augmentation, draw
from semart_hf.data.cache import FrozenText
from semart_hf.data.picture_batch import PictureBatch, gather_pictures
from semart_hf.data.resident_pictures import PicturePlace, place_pictures
from semart_hf.data.sampling import DRAW_KEY, MIXED_KEY
from semart_hf.model.image_processing_semart import load_picture
from semart_hf.model.processing_semart import SemArtProcessor

UNKNOWN_LABEL = -100
MODALITIES = ("image+text", "image", "text")


@dataclass
class ArtCollator:
    """Collates rows with `image`, `text` and a column for each task.

    Rows that carry a draw (see `TrainingPaintings`) are augmented and may lose a modality; all others go through the
    processor alone, so that evaluation in training, in the scripts and in the pipeline sees the same inputs.

    Args:
        processor: Makes the model's inputs.
        tasks: `[{"name", "labels"}, …]` in the model's order.
        modality: What is shown to the model: `image+text`, or one of both alone.
        augmentation: How training pictures are varied.
        image_dropout: Probability that a training row with both modalities is shown without its picture.
        text_dropout: Probability that a training row with both modalities is shown without its text.
        word_dropout: Probability of each word of a training row's text to be left out; one word always stays.
        frozen_text: Where a batch whose texts are all in it gets `text_hidden` from, in the place of `input_ids`.
        keeps_tokens: Whether such a batch has its `input_ids` too, which a model with a lexicon reads.
        finishes_pictures: Whether training pictures are augmented here, in the data loader's workers. Otherwise
            `pixel_values` is a `PictureBatch`, which the accelerator is to finish, as it must where the pictures lie
            there already (see `ResidentRows`).

    Raises:
        ValueError: If the modality is unknown or the probabilities exceed 1 together.
    """

    processor: SemArtProcessor
    tasks: Sequence[Mapping[str, Any]]
    modality: str = "image+text"
    augmentation: Augmentation = field(default_factory=Augmentation)
    image_dropout: float = 0.0
    text_dropout: float = 0.0
    word_dropout: float = 0.0
    frozen_text: FrozenText | None = None
    keeps_tokens: bool = False
    finishes_pictures: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.modality not in MODALITIES:
            raise ValueError(f"Unknown modality {self.modality!r}: give one of {MODALITIES}.")
        if min(self.image_dropout, self.text_dropout) < 0 or self.image_dropout + self.text_dropout > 1:
            raise ValueError(
                f"image_dropout is {self.image_dropout} and text_dropout {self.text_dropout}, but they are "
                "probabilities of exclusive events: both at least 0, together at most 1."
            )
        if not 0 <= self.word_dropout < 1:
            raise ValueError(
                f"word_dropout is {self.word_dropout}, but it is the share of words left out: at least 0, below 1."
            )

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The model's inputs, with masks where a row lacks a modality, and `labels (batch, num_tasks)`.

        Where pictures are mixed, `mixed_labels (batch, num_tasks)` are those of the pictures mixed in, and
        `label_share (batch,)` says what share is the row's own. Training rows also have their `row_index (batch,)`.
        """
        generators = [np.random.default_rng(row[DRAW_KEY]) if DRAW_KEY in row else None for row in rows]
        shown = [self._shown(row, generator) for row, generator in zip(rows, generators, strict=True)]
        texts = [
            self._said(row["text"], generator) if has_text else None
            for row, generator, (_, has_text) in zip(rows, generators, shown, strict=True)
        ]
        inputs: dict[str, Any] = {}
        if any(text is not None for text in texts):
            inputs.update(self._texts(texts))
        with_picture = [place for place, (has_image, _) in enumerate(shown) if has_image]
        if with_picture and any(generator is not None for generator in generators):
            inputs.update(self._augmented(rows, with_picture, generators))
        elif with_picture:
            pictures = [row["image"] if has_image else None for row, (has_image, _) in zip(rows, shown, strict=True)]
            inputs.update(self.processor(images=pictures, return_tensors="pt"))
        if not inputs:
            # Rows without picture and text are scored by the learned absence vectors alone.
            size = self.processor.image_processor.crop_size
            inputs["pixel_values"] = torch.zeros(len(rows), 3, size["height"], size["width"])
            inputs["has_image"] = torch.zeros(len(rows), dtype=torch.bool)
        inputs["labels"] = self._labels(rows)
        if all(DRAW_KEY in row for row in rows):
            inputs["row_index"] = torch.tensor([row[DRAW_KEY][-1] for row in rows])
        mixed = [place for place, row in enumerate(rows) if self._is_mixed(row)]
        if mixed:
            inputs["mixed_labels"], inputs["label_share"] = inputs["labels"].clone(), torch.ones(len(rows))
            inputs["mixed_labels"][mixed] = self._labels([rows[place][MIXED_KEY][0] for place in mixed])
            inputs["label_share"][mixed] = torch.tensor([rows[place][MIXED_KEY][1] for place in mixed]).float()
        return inputs

    def _said(self, text: str, generator: np.random.Generator | None) -> str:
        """The text without the words that are left out, by a draw of its own: a picture varies as it would anyway."""
        if generator is None or self.word_dropout == 0:
            return text
        words = text.split()
        chances = generator.spawn(1)[0].random(len(words))
        stays = chances >= min(self.word_dropout, chances.max())
        return " ".join(word for word, does_stay in zip(words, stays, strict=True) if does_stay)

    def _texts(self, texts: Sequence[str | None]) -> Mapping[str, Any]:
        if self.frozen_text is not None and self.frozen_text.knows(texts):
            inputs = self.frozen_text.batch(texts)
            if self.keeps_tokens:
                inputs["input_ids"] = self.processor(text=texts, return_tensors="pt")["input_ids"]
            return inputs
        return self.processor(text=texts, return_tensors="pt")

    def _is_mixed(self, row: Mapping[str, Any]) -> bool:
        has_pictures = MIXED_KEY in row and row["image"] is not None and row[MIXED_KEY][0]["image"] is not None
        return has_pictures and "image" in self.modality

    def _shown(self, row: Mapping[str, Any], generator: np.random.Generator | None) -> tuple[bool, bool]:
        has_image = row.get("image") is not None and "image" in self.modality
        has_text = bool((row.get("text") or "").strip()) and "text" in self.modality
        if self._is_mixed(row):
            return True, False
        if generator is not None and has_image and has_text:
            chance = generator.random()
            has_image = chance >= self.image_dropout
            has_text = not self.image_dropout <= chance < self.image_dropout + self.text_dropout
        return has_image, has_text

    def _augmented(
        self,
        rows: Sequence[Mapping[str, Any]],
        with_picture: Sequence[int],
        generators: Sequence[np.random.Generator | None],
    ) -> dict[str, Any]:
        """`pixel_values` of training rows, the pictures that are mixed into others among them, and `has_image`."""
        mixed = [place for place in with_picture if self._is_mixed(rows[place])]
        partners = [rows[place][MIXED_KEY][0] for place in mixed]
        sources = [rows[place]["image"] for place in with_picture] + [partner["image"] for partner in partners]
        numbers = [generators[place] for place in with_picture]
        numbers += [np.random.default_rng(partner[DRAW_KEY]) for partner in partners]
        batch = self._batch(
            sources,
            [generator for generator in numbers if generator is not None],
            rows=with_picture,
            num_rows=len(rows),
            mixed_rows=mixed,
            shares=[rows[place][MIXED_KEY][1] for place in mixed],
        )
        inputs: dict[str, Any] = {"pixel_values": batch.finish() if self.finishes_pictures else batch}
        if len(with_picture) < len(rows):
            inputs["has_image"] = torch.zeros(len(rows), dtype=torch.bool)
            inputs["has_image"][with_picture] = True
        return inputs

    def _batch(
        self, sources: Sequence[Any], generators: Sequence[np.random.Generator], **options: Any
    ) -> PictureBatch:
        """The pictures with what their generators draw for them, ready to be finished."""
        image_processor = self.processor.image_processor
        size = image_processor.crop_size["height"]
        options |= {"size": size, "mean": image_processor.image_mean, "std": image_processor.image_std}
        # So large that the smallest crop still has as many pixels as the model sees.
        least_side = math.ceil(size / math.sqrt(self.augmentation.crop_scale[0]))
        is_resident = isinstance(sources[0], PicturePlace)
        pictures = sources if is_resident else [load_picture(source, least_side=least_side) for source in sources]
        draws = [
            draw(self.augmentation, generator, (picture.height, picture.width))
            for picture, generator in zip(pictures, generators, strict=True)
        ]
        return (place_pictures if is_resident else gather_pictures)(pictures, draws, **options)

    def _labels(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        labels = torch.full((len(rows), len(self.tasks)), UNKNOWN_LABEL)
        for column, task in enumerate(self.tasks):
            for row, values in enumerate(rows):
                label = values.get(task["name"])
                if label is None or label == UNKNOWN_LABEL:
                    continue
                if not 0 <= label < len(task["labels"]):
                    raise ValueError(
                        f"Label {label} of task {task['name']!r} is not in the model's vocabulary of "
                        f"{len(task['labels'])} labels. Load the data with the model's tasks: "
                        "load_paintings(data, tasks=model.config.tasks)."
                    )
                labels[row, column] = label
        return labels
