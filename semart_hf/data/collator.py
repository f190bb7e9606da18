"""Rows of paintings become the model's inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semart_hf.data.augmentation import Augmentation, augment
from semart_hf.data.cache import FrozenText
from semart_hf.data.sampling import DRAW_KEY, MIXED_KEY
from semart_hf.model.image_processing_semart import load_picture
from semart_hf.model.processing_semart import SemArtProcessor

UNKNOWN_LABEL = -100
MODALITIES = ("image+text", "image", "text")
# Training pictures are decoded to this multiple of the crop's side: enough detail for a random crop, and no more.
REDUCTION = 256 / 224


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
        frozen_text: Where a batch whose texts are all in it gets `text_hidden` from, in the place of `input_ids`.

    Raises:
        ValueError: If the modality is unknown or the probabilities exceed 1 together.
    """

    processor: SemArtProcessor
    tasks: Sequence[Mapping[str, Any]]
    modality: str = "image+text"
    augmentation: Augmentation = field(default_factory=Augmentation)
    image_dropout: float = 0.0
    text_dropout: float = 0.0
    frozen_text: FrozenText | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.modality not in MODALITIES:
            raise ValueError(f"Unknown modality {self.modality!r}: give one of {MODALITIES}.")
        if min(self.image_dropout, self.text_dropout) < 0 or self.image_dropout + self.text_dropout > 1:
            raise ValueError(
                f"image_dropout is {self.image_dropout} and text_dropout {self.text_dropout}, but they are "
                "probabilities of exclusive events: both at least 0, together at most 1."
            )

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The model's inputs, with masks where a row lacks a modality, and `labels (batch, num_tasks)`.

        Where pictures are mixed, `mixed_labels (batch, num_tasks)` are those of the pictures mixed in, and
        `label_share (batch,)` says what share is the row's own. Training rows also have their `row_index (batch,)`.
        """
        generators = [np.random.default_rng(row[DRAW_KEY]) if DRAW_KEY in row else None for row in rows]
        shown = [self._shown(row, generator) for row, generator in zip(rows, generators, strict=True)]
        sources = [row["image"] if has_image else None for row, (has_image, _) in zip(rows, shown, strict=True)]
        texts = [row["text"] if has_text else None for row, (_, has_text) in zip(rows, shown, strict=True)]
        inputs: dict[str, Tensor] = {}
        if any(text is not None for text in texts):
            inputs.update(self._texts(texts))
        if any(source is not None for source in sources):
            inputs.update(self._pictures(sources, generators))
        if not inputs:
            # Rows without picture and text are scored by the learned absence vectors alone.
            size = self.processor.image_processor.crop_size
            inputs["pixel_values"] = torch.zeros(len(rows), 3, size["height"], size["width"])
            inputs["has_image"] = torch.zeros(len(rows), dtype=torch.bool)
        inputs["labels"] = self._labels(rows)
        if all(DRAW_KEY in row for row in rows):
            inputs["row_index"] = torch.tensor([row[DRAW_KEY][-1] for row in rows])
        if any(self._is_mixed(row) for row in rows):
            self._mix(inputs, rows)
        return inputs

    def _texts(self, texts: Sequence[str | None]) -> Mapping[str, Any]:
        if self.frozen_text is not None and self.frozen_text.knows(texts):
            return self.frozen_text.batch(texts)
        return self.processor(text=texts, return_tensors="pt")

    def _mix(self, inputs: dict[str, Tensor], rows: Sequence[Mapping[str, Any]]) -> None:
        places = [place for place, row in enumerate(rows) if self._is_mixed(row)]
        partners = [rows[place][MIXED_KEY][0] for place in places]
        pictures = self._pictures(
            [partner["image"] for partner in partners], [np.random.default_rng(row[DRAW_KEY]) for row in partners]
        )["pixel_values"]
        share = torch.ones(len(rows))
        share[places] = torch.tensor([rows[place][MIXED_KEY][1] for place in places], dtype=torch.float32)
        own = share[places].view(-1, 1, 1, 1)
        inputs["pixel_values"][places] = own * inputs["pixel_values"][places] + (1 - own) * pictures
        mixed_labels = inputs["labels"].clone()
        mixed_labels[places] = self._labels(partners)
        inputs.update(mixed_labels=mixed_labels, label_share=share)

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

    def _pictures(
        self, sources: Sequence[Any], generators: Sequence[np.random.Generator | None]
    ) -> Mapping[str, Tensor]:
        if all(generator is None for generator in generators):
            pictures = [None if source is None else load_picture(source) for source in sources]
            return self.processor(images=pictures, return_tensors="pt")
        image_processor = self.processor.image_processor
        size = image_processor.crop_size["height"]
        present = [row for row, source in enumerate(sources) if source is not None]
        augmented = augment(
            [reduced_picture(sources[row], round(size * REDUCTION)) for row in present],
            [generator for row in present if (generator := generators[row]) is not None],
            self.augmentation,
            size=size,
            mean=image_processor.image_mean,
            std=image_processor.image_std,
        )
        if len(present) == len(sources):
            return {"pixel_values": augmented}
        pixel_values = torch.zeros(len(sources), *augmented.shape[1:])
        pixel_values[present] = augmented
        has_image = torch.zeros(len(sources), dtype=torch.bool)
        has_image[present] = True
        return {"pixel_values": pixel_values, "has_image": has_image}

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


def reduced_picture(source: Any, short_side: int) -> Tensor:
    """A picture `(3, height, width)` of uint8 whose short side is at most `short_side` pixels.

    Args:
        source: What the `image` column holds, decoded or not.
        short_side: In pixels; smaller pictures stay as they are.
    """
    picture = load_picture(source)
    factor = short_side / min(picture.size)
    if factor < 1:
        width, height = (max(1, round(side * factor)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
