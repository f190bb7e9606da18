"""From pictures and texts, either absent, to the model's inputs."""

import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from .image_processing_semart import SemArtImageProcessor

# DistilBERT's own limit, for tokenizers that state none (they give an astronomical number).
MAX_TOKENS = 512
# Tensor cores and vector units work in groups of eight.
TOKENS_MULTIPLE = 8
# A fast tokenizer keeps padding and truncation in itself: two threads may not call it at once.
_TOKENIZING = threading.Lock()


class SemArtProcessor(ProcessorMixin):
    """Pictures and descriptions of paintings become the model's inputs.

    Args:
        image_processor: Makes `pixel_values`.
        tokenizer: Makes `input_ids`; texts are cut at its `model_max_length`.
    """

    # The base class takes the names of its parts from this signature.
    def __init__(self, image_processor: SemArtImageProcessor, tokenizer: Any) -> None:
        super().__init__(image_processor, tokenizer)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str | None] | None = None,
        *,
        return_tensors: str = "pt",
        pad_absent: bool = False,
    ) -> BatchFeature:
        """`pixel_values (batch, 3, height, width)`, `input_ids` and `attention_mask (batch, tokens)`, and masks.

        Where only some rows have a picture, `has_image (batch,)` tells which, and the others hold zeros; likewise
        `has_text`, and the empty text's tokens. A modality that no row has is left out; where no row has anything, the
        empty texts stay, so that the batch keeps its rows.

        Args:
            images: A picture or a list of them, `None` where a row has none: whatever `load_picture` takes.
            text: A text or a list of them, `None` or blank where a row has none.
            return_tensors: `pt` or `np`.
            pad_absent: Whether everything is given, masks too, even if every row or no row has it, so that batches
                of single rows can be joined.

        Raises:
            ValueError: If neither pictures nor texts are given, or not as many of both.
            TypeError: If a text is not a string.
        """
        if return_tensors not in ("pt", "np"):
            raise ValueError(
                f"return_tensors is {return_tensors!r}, but it must be 'pt' or 'np'. Choose one of these."
            )
        pictures, texts = _as_rows(images), _as_texts(text)
        if not pictures and not texts:
            raise ValueError(
                "Got neither images nor text. Allowed are pictures, texts or both, with None where a row lacks one. "
                "Call processor(images=picture, text='A view of Delft')."
            )
        if pictures is not None and texts is not None and len(pictures) != len(texts):
            raise ValueError(
                f"Got {len(pictures)} images and {len(texts)} texts. Allowed is one of each a row. Put None into the "
                "list for what a row lacks."
            )
        num_rows = len(pictures if pictures is not None else texts or [])
        pictures = pictures if pictures is not None else [None] * num_rows
        texts = texts if texts is not None else [None] * num_rows
        has_image = torch.tensor([picture is not None for picture in pictures], dtype=torch.bool)
        has_text = torch.tensor([text is not None for text in texts], dtype=torch.bool)
        inputs: dict[str, Tensor] = {}
        if has_image.any() or pad_absent:
            inputs["pixel_values"] = self._pixel_values(pictures)
            if pad_absent or not has_image.all():
                inputs["has_image"] = has_image
        if has_text.any() or pad_absent or not inputs:
            inputs.update(self._tokens(texts))
            if pad_absent or not has_text.all():
                inputs["has_text"] = has_text
        return BatchFeature(
            {name: value.numpy() if return_tensors == "np" else value for name, value in inputs.items()}
        )

    @property
    def model_input_names(self) -> list[str]:
        """Names of everything that a call can give."""
        return ["pixel_values", "has_image", "input_ids", "attention_mask", "has_text"]

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> Any:
        """Write the processor to a folder, as the base class does.

        What loading and the last call left in the tokenizer stays behind: equal processors give equal files.
        """
        for trace in ("dtype", "is_local", "local_files_only"):
            self.tokenizer.init_kwargs.pop(trace, None)
        self.tokenizer.backend_tokenizer.no_padding()
        self.tokenizer.backend_tokenizer.no_truncation()
        return super().save_pretrained(save_directory, **options)

    def _pixel_values(self, pictures: Sequence[Any]) -> Tensor:
        size = self.image_processor.crop_size
        pixel_values = torch.zeros(len(pictures), 3, size["height"], size["width"])
        present = [row for row, picture in enumerate(pictures) if picture is not None]
        if not present:
            return pixel_values
        transformed = self.image_processor([pictures[row] for row in present], return_tensors="pt")["pixel_values"]
        if len(present) == len(pictures):
            return transformed
        pixel_values[present] = transformed
        return pixel_values

    def _tokens(self, texts: Sequence[str | None]) -> dict[str, Tensor]:
        limit = self.tokenizer.model_max_length
        limit = limit if limit < 1_000_000 else MAX_TOKENS
        with _TOKENIZING:
            tokens = self.tokenizer(
                [text or "" for text in texts],
                truncation=True,
                max_length=limit,
                padding=True,
                # A limit that is no multiple would be exceeded by rounding up to one.
                pad_to_multiple_of=TOKENS_MULTIPLE if limit % TOKENS_MULTIPLE == 0 else None,
                return_attention_mask=True,
                return_token_type_ids=False,
                return_tensors="pt",
            )
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}


def _as_rows(images: Any) -> list[Any] | None:
    if images is None:
        return None
    is_file = isinstance(images, str | bytes | bytearray | memoryview)
    is_batch = isinstance(images, np.ndarray | Tensor) and images.ndim == 4
    if is_batch or (isinstance(images, Sequence) and not is_file):
        return list(images)
    return [images]


def _as_texts(text: Any) -> list[str | None] | None:
    if text is None:
        return None
    texts = list(text) if isinstance(text, Sequence) and not isinstance(text, str) else [text]
    for row, value in enumerate(texts):
        if value is not None and not isinstance(value, str):
            raise TypeError(
                f"Text {row} is {value!r} of type {type(value).__name__}. Allowed are strings, and None for a row "
                "without text. Convert it, or put None."
            )
    return [value if value and value.strip() else None for value in texts]


SemArtProcessor.register_for_auto_class()
