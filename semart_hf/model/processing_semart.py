"""From what is handed over as paintings, pictures or texts to the model's inputs."""

import copy
import inspect
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import resolve_data_config
from timm.data.transforms import str_to_pil_interp
from torch import Tensor
from torchvision.transforms.v2 import functional as tvF
from transformers import BatchFeature, ProcessorMixin
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling, SizeDict

from .pictures_semart import load_picture

MAX_TOKENS = 512  # DistilBERT's own limit, for tokenizers that state none (they give an astronomical number)
TOKENS_MULTIPLE = 8  # tensor cores and vector units work in groups of eight
# A longer strip is cut about its centre before it is resized, which would need gigabytes.
MAX_ASPECT = 32
# A JPEG is decoded at no less than so many times the resized size, for the resizing filter to work on.
REDUCING_GAP = 2
# A fast tokenizer keeps padding and truncation in itself: two threads may not call it at once.
_TOKENIZING = threading.Lock()
KEYS = ("image", "text", "description")
_ONE = (str, bytes, bytearray, memoryview, os.PathLike, Image.Image)


class SemArtImageProcessor(TorchvisionBackend):
    """Pictures become `pixel_values (batch, 3, height, width)`; `from_timm` makes one as a tower was trained."""

    resample = PILImageResampling.BICUBIC
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"shortest_edge": 256}  # noqa: RUF012 - the base class copies its defaults
    crop_size = {"height": 224, "width": 224}  # noqa: RUF012
    default_to_square = False
    do_resize = do_center_crop = do_rescale = do_normalize = do_convert_rgb = True

    @classmethod
    def from_timm(cls, pretrained_cfg: Mapping[str, Any]) -> "SemArtImageProcessor":
        """The evaluation transform of a timm tower, by the `pretrained_cfg` of its `timm_wrapper` configuration.

        Raises:
            ValueError: If the tower's transform is of another kind.

        Source: `transforms_imagenet_eval` in timm/data/transforms_factory.py.
        """
        config = resolve_data_config(pretrained_cfg=dict(pretrained_cfg))
        channels, height, width = config["input_size"]
        if channels != 3 or height != width or config["crop_mode"] not in ("center", "squash"):
            made = f"{channels} x {height} x {width} with crop_mode {config['crop_mode']!r}"
            raise ValueError(
                f"The vision tower wants inputs of {made}, but this processor makes squares of RGB. Choose another."
            )
        edge = math.floor(height / config["crop_pct"])
        return cls(
            size={"shortest_edge": edge} if config["crop_mode"] == "center" else {"height": edge, "width": edge},
            crop_size={"height": height, "width": width},
            resample=str_to_pil_interp(config["interpolation"]),
            image_mean=list(config["mean"]),
            image_std=list(config["std"]),
        )

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """The pictures behind paths, URLs and bytes, in the nesting that they came in."""
        is_batch = isinstance(image_url_or_urls, np.ndarray | Tensor) and image_url_or_urls.ndim == 4
        if is_batch or isinstance(image_url_or_urls, list | tuple):
            return [self.fetch_images(source) for source in image_url_or_urls]
        return load_picture(image_url_or_urls, least_side=self.least_side)

    @property
    def least_side(self) -> int | None:
        """Shorter side in pixels that a JPEG is decoded at when it is read from a file, at least."""
        return REDUCING_GAP * self.resized_side if self.do_resize and self.resized_side else None

    @property
    def resized_side(self) -> int:
        """Side in pixels that pictures are resized to: the shorter one, or the longer of both; 0: none is named."""
        return max(self.size.get(name) or 0 for name in ("shortest_edge", "height", "width"))

    def process_image(self, image: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        """A picture as `(channels, height, width)`; in RGB it keeps its channels side by side, and is resized fast."""
        if isinstance(image, Image.Image) and image.mode == "RGB" and "transparency" not in image.info:
            return torch.from_numpy(np.array(image)).permute(2, 0, 1).to(device)
        return super().process_image(image, *args, device=device, **kwargs)

    def resize(self, image: Tensor, size: SizeDict, **kwargs: Any) -> Tensor:
        """The pictures `(…, height, width)` in the size that `size` names."""
        shortest = min(image.shape[-2:])
        if size.shortest_edge and max(image.shape[-2:]) > MAX_ASPECT * shortest:
            image = tvF.center_crop(image, [min(side, MAX_ASPECT * shortest) for side in image.shape[-2:]])
        return super().resize(image, size, **kwargs)

    def center_crop(self, image: Tensor, size: SizeDict, **kwargs: Any) -> Tensor:
        """The middle of the pictures; as in timm, half a pixel is rounded and not cut off as in the base class."""
        return tvF.center_crop(image, [size.height, size.width])


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
                "Got neither images nor text. Give one or both: processor(images=picture, text='A view')."
            )
        if pictures is not None and texts is not None and len(pictures) != len(texts):
            raise ValueError(f"Got {len(pictures)} images and {len(texts)} texts. Put None for what a row lacks.")
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
        if return_tensors is None:
            tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
            inputs |= {name: list(value) if value.ndim > 1 else value.tolist() for name, value in tensors.items()}
        return BatchFeature(inputs, return_tensors)

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


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: `None`, NaN, pandas' NA and NaT, or blanks."""
    if isinstance(value, str):
        return not value.strip()
    is_nan = isinstance(value, float | np.floating) and bool(np.isnan(value))
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def as_list(values: Any) -> list[Any]:
    """The values of a list, a column, an array or any other iterable, or the one value that is given."""
    if hasattr(values, "columns") or hasattr(values, "column_names"):
        raise TypeError(f"Got a table ({type(values).__name__}). Allowed is one column. Give table['text'], say.")
    if hasattr(values, "to_pylist"):  # pyarrow
        return list(values.to_pylist())
    return [values] if is_single(values) else list(values)


def is_single(value: Any) -> bool:
    """Whether this is one painting, picture or text, and not many of them."""
    if isinstance(value, np.ndarray | Tensor):  # numbers are pictures, of which four dimensions make a batch
        return value.ndim < (4 if isinstance(value, Tensor) or value.dtype.kind not in "OUS" else 1)
    if isinstance(value, Mapping):  # of lists or columns: a table
        return all(is_single(value.get(key)) or not isinstance(value[key], Sized) for key in KEYS)
    if isinstance(value, _ONE) or hasattr(value, "read"):
        return True  # an open file too, although it iterates over lines
    if hasattr(value, "iloc"):  # pandas: a row of a table is labelled by its columns
        return not hasattr(value, "columns") and not set(KEYS).isdisjoint(map(str, value.index))
    return not isinstance(value, Iterable) and not (isinstance(value, Sized) and hasattr(value, "__getitem__"))


def rows(inputs: Any) -> Iterable[Any]:
    """Each painting of many, in their order: a list where they lie in memory, else an iterator.

    Of a table the columns of `KEYS` alone are read. In the place of a row that a dataset fails to read is its error.
    """
    if getattr(inputs, "column_names", None) and not hasattr(inputs, "to_pylist"):  # a data set
        names = _checked_columns(inputs.column_names)
        # In Python's types, with pictures as files, so that they are read as all others are, one by one.
        dataset = inputs.with_format(None) if hasattr(inputs, "with_format") else inputs
        feature: Any = (getattr(dataset, "features", None) or {}).get("image")
        if type(feature).__name__ == "Image" and hasattr(dataset, "cast_column"):
            dataset = dataset.cast_column("image", type(feature)(decode=False))
        return (row if isinstance(row, Exception) else {name: row[name] for name in names} for row in _read(dataset))
    if hasattr(inputs, "iloc") and hasattr(inputs, "columns"):
        inputs = inputs.reset_index(drop=True)  # whose labels may be called like columns
    if isinstance(inputs, Mapping) or (hasattr(inputs, "columns") and hasattr(inputs, "__getitem__")):
        every = inputs if isinstance(inputs, Mapping) else getattr(inputs, "column_names", inputs.columns)
        columns = {name: inputs[name] for name in _checked_columns(every)}
        lengths = {name: None if is_single(column) else len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Got a table with columns of the lengths {lengths}. Put None for what a painting lacks.")
        return [dict(zip(columns, row, strict=True)) for row in zip(*map(as_list, columns.values()), strict=True)]
    if isinstance(inputs, list | tuple | np.ndarray | Tensor) or hasattr(inputs, "iloc"):
        return list(inputs)
    return as_list(inputs) if hasattr(inputs, "to_pylist") else _read(inputs)


def picture_and_text(painting: Any, task_names: Iterable[str] = ()) -> tuple[Any, str | None]:
    """Picture and text of a painting, `None` for what it lacks; further keys may be names of tasks alone."""
    if isinstance(painting, Exception):
        raise ValueError(f"The row cannot be read: {str(painting)[:200]}") from painting
    if isinstance(painting, list | tuple):
        kind = type(painting).__name__
        raise TypeError(f"Got a {kind} for a painting. Allowed are a picture and {{'image': …, 'text': …}}.")
    if hasattr(painting, "iloc"):
        painting = {key: painting[key] for key in KEYS if key in painting.index}
    if not isinstance(painting, Mapping) or set(painting) == {"bytes", "path"}:  # an undecoded `datasets.Image`
        painting = {"image": painting}
    if unknown := [key for key in painting if key not in (*KEYS, *task_names)]:
        raise ValueError(
            f"Got a painting with the keys {_named(unknown)}. Allowed are {list(KEYS)}. Rename or drop them."
        )
    image, text, description = (None if is_missing(painting.get(key)) else painting[key] for key in KEYS)
    text = description if text is None else text
    if image is None and text is None:
        raise ValueError(
            "Got a painting with neither a picture nor a text. Allowed are {'image': …}, {'text': …} or both. Leave "
            f"the painting out, or look into its {_named(painting)}."
        )
    return image, checked_text(text)


def checked_text(text: Any) -> str | None:
    """The text, `None` where it is missing; an error where it is no string, or none that UTF-8 can write."""
    if is_missing(text):
        return None
    if not isinstance(text, str):
        shown = f"{repr(text)[:60]} of type {type(text).__name__}"
        raise TypeError(f"Got the text {shown}. Allowed are strings, and None for a row without. Convert it.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"Got a text with half a character at place {error.start}. Decode it again.") from error
    return text


def _read(inputs: Any) -> Iterator[Any]:
    if not (isinstance(inputs, Sized) and hasattr(inputs, "__getitem__")):
        yield from inputs
        return
    for index in range(len(inputs)):
        try:
            yield inputs[index]
        except Exception as error:  # noqa: BLE001 - one row that cannot be read costs no other one its answer
            yield error


def _checked_columns(names: Iterable[Any]) -> list[Any]:
    found = [name for name in names if name in KEYS]
    if not found or len(set(found)) < len(found):
        allowed = "is each name once" if found else f"are {list(KEYS)}, at least one"
        raise ValueError(f"Got a table with the columns {_named(names)}. Allowed {allowed}. Rename them.")
    return found


def _named(keys: Iterable[Any]) -> list[str]:
    return [str(key)[:40] for key in keys][:20]


SemArtImageProcessor.register_for_auto_class()
SemArtProcessor.register_for_auto_class()
