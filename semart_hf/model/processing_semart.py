"""From pictures and texts, either absent, to the model's inputs."""

import copy
import inspect
import os
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from .image_processing_semart import SemArtImageProcessor
from .paintings_semart import as_list, checked_text, is_missing

MAX_TOKENS = 512  # DistilBERT's own limit, for tokenizers that state none (they give an astronomical number)
TOKENS_MULTIPLE = 8  # tensor cores and vector units work in groups of eight
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
        text: Any = None,
        *,
        return_tensors: str | None = "pt",
        padding: bool | str | None = None,
        truncation: bool | str = True,
        max_length: int | None = None,
        **text_options: Any,
    ) -> BatchFeature:
        """`pixel_values (batch, 3, height, width)`, `input_ids` and `attention_mask (batch, tokens)`, and masks.

        Where only some rows have a picture, `has_image (batch,)` is their mask, and the others hold zeros; likewise
        `has_text`. A modality that no row has is left out; where no row has anything, the empty texts stay.

        Args:
            images: One or many of all that `load_picture` takes; missing (`None`, NaN) where a row has none.
            text: One or many, missing or blank where a row has none.
            return_tensors: `pt`, `np`, or `None` for lists.
            padding: As in the tokenizer; `None`: to the longest, rounded up to a multiple of eight.
            truncation: As in the tokenizer, like all further options.
            max_length: `None`: the tokenizer's `model_max_length`.

        Raises:
            ValueError: If neither pictures nor texts are given, or not as many of both, or a picture cannot be read.
            TypeError: If a text is not a string.
        """
        if return_tensors not in ("pt", "np", None):
            raise ValueError(f"return_tensors is {return_tensors!r}, but it must be 'pt', 'np' or None. Choose one.")
        if unknown := sorted(set(text_options) - set(inspect.signature(self.tokenizer.__call__).parameters)):
            raise TypeError(f"Got the unknown options {unknown}. Allowed are the tokenizer's. Correct the name.")
        if max_length is not None and (not isinstance(max_length, int) or max_length < 1):
            raise ValueError(f"max_length is {max_length!r}. Allowed are whole numbers from 1, or None. Give 128.")
        pictures = None if images is None else [None if is_missing(image) else image for image in as_list(images)]
        texts = None if text is None else [checked_text(value) for value in as_list(text)]
        if not pictures and not texts:
            raise ValueError(
                "Got neither images nor text. Give one or both: processor(images=picture, text='A view of Delft')."
            )
        if pictures is not None and texts is not None and len(pictures) != len(texts):
            raise ValueError(
                f"Got {len(pictures)} images and {len(texts)} texts. Put None into the list for what a row lacks."
            )
        pictures = pictures or [None] * len(texts or [])
        texts = texts or [None] * len(pictures)
        has_image = torch.tensor([picture is not None for picture in pictures], dtype=torch.bool)
        has_text = torch.tensor([text is not None for text in texts], dtype=torch.bool)
        inputs: dict[str, Any] = {}
        if has_image.any():
            present = [picture for picture in pictures if picture is not None]
            transformed = self.image_processor(present, return_tensors="pt")["pixel_values"]
            inputs["pixel_values"] = transformed
            if not has_image.all():
                inputs["pixel_values"] = transformed.new_zeros(len(pictures), *transformed.shape[1:])
                inputs["pixel_values"][has_image] = transformed
                inputs["has_image"] = has_image
        if has_text.any() or not inputs:
            text_options |= {"padding": padding, "truncation": truncation, "max_length": max_length}
            inputs.update(self._tokens(texts, return_tensors=return_tensors, **text_options))
            if not has_text.all():
                inputs["has_text"] = has_text
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        if return_tensors == "np":
            inputs |= {name: value.numpy() for name, value in tensors.items()}
        elif return_tensors is None:
            inputs |= {name: list(value) if value.ndim > 1 else value.tolist() for name, value in tensors.items()}
        return BatchFeature(inputs)

    @property
    def model_input_names(self) -> list[str]:
        """Names of everything that a call can give."""
        return ["pixel_values", "has_image", "input_ids", "attention_mask", "has_text"]

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> Any:
        """Write the processor as the base class does, without what loading and calls left in the tokenizer."""
        with _TOKENIZING:
            written = copy.deepcopy(self)
        for trace in ("dtype", "is_local", "local_files_only"):
            written.tokenizer.init_kwargs.pop(trace, None)
        written.tokenizer.backend_tokenizer.no_padding()
        written.tokenizer.backend_tokenizer.no_truncation()
        return super(SemArtProcessor, written).save_pretrained(save_directory, **options)

    def _tokens(self, texts: Sequence[str | None], *, padding: Any, max_length: int | None, **options: Any) -> Any:
        limit = max_length or self.tokenizer.model_max_length
        limit = limit if limit < 1_000_000 else MAX_TOKENS
        if padding is None:
            # A limit that is no multiple would be exceeded by rounding up to one.
            options = {"pad_to_multiple_of": TOKENS_MULTIPLE if limit % TOKENS_MULTIPLE == 0 else None} | options
        options = {"return_token_type_ids": False, "return_attention_mask": True} | options
        padding = True if padding is None else padding
        with _TOKENIZING:
            return self.tokenizer([text or "" for text in texts], padding=padding, max_length=limit, **options)


SemArtProcessor.register_for_auto_class()
