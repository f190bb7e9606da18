"""Rows of paintings become the model's inputs."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from semart_hf.model.output_semart import UNKNOWN_LABEL
from semart_hf.model.pictures_semart import PictureError, load_picture
from semart_hf.model.processing_semart import SemArtProcessor, is_missing

from .augmentation import Augmentation, draw
from .copies import pair_keys
from .frozen_text import FrozenText
from .labels import labels_of
from .picture_batch import gather_pictures
from .sampling import DRAW_KEY

MODALITIES = ("image+text", "image", "text")
logger = logging.getLogger(__name__)


@dataclass
class ArtCollator:
    """Collates rows with `image`, `text` and a column for each task into the model's inputs.

    Rows that carry a draw (see `TrainingPaintings`) are augmented and may lose a modality; all others go through the
    processor alone. A picture that cannot be read is named in the log, once a process, and its row is shown its text
    alone; a row that has none is left out: its labels are unknown.
    """

    processor: SemArtProcessor
    tasks: Sequence[Mapping[str, Any]]  # in the model's order
    modality: str = "image+text"  # what is shown to the model: one of `MODALITIES`
    augmentation: Augmentation = field(default_factory=Augmentation)
    image_dropout: float = 0.0  # probability that a training row with both is shown without its picture
    text_dropout: float = 0.0  # likewise without its text
    frozen_text: FrozenText | None = None  # gives `text_hidden` in the place of `input_ids` where it has all texts
    keeps_tokens: bool = False  # whether such a batch has its `input_ids` too, for a lexicon
    finishes_pictures: bool = True  # whether here; otherwise training's `pixel_values` is a `PictureBatch`
    reports_unreadable: bool = False  # as `unreadable`: the rows' places in the batch, and what is wrong with each
    recognises_copies: bool = False  # whether training rows have `pair_keys (batch, bytes)`, alike for copies

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ValueError(f"Unknown modality {self.modality!r}: give one of {MODALITIES}.")
        if min(self.image_dropout, self.text_dropout) < 0 or self.image_dropout + self.text_dropout > 1:
            raise ValueError(
                f"image_dropout is {self.image_dropout} and text_dropout {self.text_dropout}, but they are "
                "probabilities of exclusive events: both at least 0, together at most 1."
            )
        self._logged: set[tuple[str, str]] = set()

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The model's inputs, with masks where a row lacks a modality, and `labels (batch, num_tasks)`.

        Training rows also have their `row_index (batch,)`.
        """
        is_training = all(DRAW_KEY in row for row in rows)
        generators = [np.random.default_rng(row[DRAW_KEY]) for row in rows] if is_training else [None] * len(rows)
        shown = [self._shown(row, generator) for row, generator in zip(rows, generators, strict=True)]
        pictures, unreadable = self._pictures(rows, [has_image for has_image, _ in shown])
        texts = [
            row["text"] if has_text or (place in unreadable and self._has_text(row)) else None
            for place, (row, (_, has_text)) in enumerate(zip(rows, shown, strict=True))
        ]
        inputs: dict[str, Any] = {}
        if any(text is not None for text in texts):
            inputs.update(self._texts(texts))
        if any(picture is not None for picture in pictures):
            inputs.update(self._augmented(pictures, generators) if is_training else self.processor(images=pictures))
        if not inputs:  # rows without picture and text are scored by the learned absence vectors alone
            inputs.update(self.processor(text=texts))
        inputs["labels"] = labels_of(rows, self.tasks)
        for place in unreadable:
            if texts[place] is None:
                inputs["labels"][place] = UNKNOWN_LABEL
        if is_training:
            inputs["row_index"] = torch.tensor([row[DRAW_KEY][-1] for row in rows])
            if self.recognises_copies:
                inputs["pair_keys"] = pair_keys(pictures, texts)
        if self.reports_unreadable and unreadable:
            inputs["unreadable"] = list(unreadable.items())
        return inputs

    def _shown(self, row: Mapping[str, Any], generator: np.random.Generator | None) -> tuple[bool, bool]:
        has_image = not is_missing(row.get("image")) and "image" in self.modality
        has_text = self._has_text(row)
        if generator is not None and has_image and has_text:
            chance = generator.random()
            has_image = chance >= self.image_dropout
            has_text = not self.image_dropout <= chance < self.image_dropout + self.text_dropout
        return has_image, has_text

    def _has_text(self, row: Mapping[str, Any]) -> bool:
        return not is_missing(row.get("text")) and "text" in self.modality

    def _pictures(
        self, rows: Sequence[Mapping[str, Any]], has_image: Sequence[bool]
    ) -> tuple[list[Image.Image | None], dict[int, str]]:
        """The decoded picture of each row, and by its place what is wrong with one that cannot be read."""
        image_processor = self.processor.image_processor
        # So large that the smallest crop still has as many pixels as the model sees.
        for_training = math.ceil(image_processor.crop_size["height"] / math.sqrt(self.augmentation.crop_scale[0]))
        pictures: list[Image.Image | None] = []
        unreadable = {}
        for place, (row, is_shown) in enumerate(zip(rows, has_image, strict=True)):
            picture = None
            if is_shown:
                least_side = for_training if DRAW_KEY in row else image_processor.least_side
                try:
                    picture = load_picture(row["image"], least_side=least_side)
                except PictureError as error:
                    unreadable[place] = str(error)
                    name = row.get("image_file") or "a painting without a name"
                    if (name, str(error)) not in self._logged:
                        self._logged.add((name, str(error)))
                        remains = "its text alone is used" if self._has_text(row) else "it is left out"
                        logger.warning("%s: the picture cannot be read, and %s. %s", name, remains, error)
            pictures.append(picture)
        return pictures, unreadable

    def _texts(self, texts: Sequence[str | None]) -> Mapping[str, Any]:
        inputs = None if self.frozen_text is None else self.frozen_text.batch(texts)
        if inputs is None:
            return self.processor(text=texts)
        if self.keeps_tokens:
            inputs["input_ids"] = self.processor(text=texts)["input_ids"]
        return inputs

    def _augmented(self, pictures: Sequence[Image.Image | None], generators: Sequence[Any]) -> dict[str, Any]:
        """`pixel_values` of training rows, and `has_image` where some lack a picture."""
        image_processor = self.processor.image_processor
        rows = [place for place, picture in enumerate(pictures) if picture is not None]
        shown = [picture for picture in pictures if picture is not None]
        batch = gather_pictures(
            shown,
            [
                draw(self.augmentation, generators[place], (picture.height, picture.width))
                for place, picture in zip(rows, shown, strict=True)
            ],
            size=image_processor.crop_size["height"],
            mean=image_processor.image_mean,
            std=image_processor.image_std,
            rows=rows,
            num_rows=len(pictures),
        )
        inputs: dict[str, Any] = {"pixel_values": batch.finish() if self.finishes_pictures else batch}
        if len(rows) < len(pictures):
            inputs["has_image"] = torch.zeros(len(pictures), dtype=torch.bool)
            inputs["has_image"][rows] = True
        return inputs
