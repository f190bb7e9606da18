"""What is handed over as paintings: one or many, and the picture and the text of each."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

KEYS = ("image", "text", "description")
_CELL = {"bytes", "path"}  # of a `datasets.Image` column that is not decoded
_ONE = (str, bytes, bytearray, memoryview, os.PathLike, Image.Image)


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
    if isinstance(value, Mapping):  # of lists: a table
        return not any(isinstance(value.get(key), list | tuple) for key in KEYS)
    if isinstance(value, _ONE) or hasattr(value, "read"):
        return True  # an open file too, although it iterates over lines
    if hasattr(value, "iloc"):  # pandas: a row of a table is labelled by its columns
        return not hasattr(value, "columns") and not set(KEYS).isdisjoint(map(str, value.index))
    return not isinstance(value, Iterable) and not (isinstance(value, Sized) and hasattr(value, "__getitem__"))


def rows(inputs: Any) -> Iterable[Any]:
    """Each painting of many, in their order: a list where they lie in memory, else an iterator.

    Of a table the columns of `KEYS` alone are read. In the place of a row that a dataset fails to read is its error.
    """
    is_dataset = bool(getattr(inputs, "column_names", None)) and not hasattr(inputs, "to_pylist")
    if is_dataset:
        names = _checked_columns(inputs.column_names)
        read = _read(_undecoded(inputs))
        return (row if isinstance(row, Exception) else {name: row[name] for name in names} for row in read)
    if hasattr(inputs, "iloc") and hasattr(inputs, "columns"):
        inputs = inputs.reset_index(drop=True)  # whose labels may be called like columns
    if isinstance(inputs, Mapping) or (hasattr(inputs, "columns") and hasattr(inputs, "__getitem__")):
        every = inputs if isinstance(inputs, Mapping) else getattr(inputs, "column_names", inputs.columns)
        columns = {name: inputs[name] for name in _checked_columns(every)}
        lengths = {name: None if is_single(column) else len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"Got a table whose columns have the lengths {lengths}. Put None for what a painting lacks."
            )
        return [dict(zip(columns, row, strict=True)) for row in zip(*map(as_list, columns.values()), strict=True)]
    if isinstance(inputs, list | tuple | np.ndarray | Tensor) or hasattr(inputs, "iloc"):
        return list(inputs)
    return as_list(inputs) if hasattr(inputs, "to_pylist") else _read(inputs)


def picture_and_text(painting: Any, task_names: Iterable[str] = ()) -> tuple[Any, str | None]:
    """Picture and text of a painting, `None` for what it lacks; further keys may be names of tasks alone."""
    if isinstance(painting, Exception):
        raise ValueError(f"The row cannot be read: {str(painting)[:200]}") from painting
    if isinstance(painting, list | tuple):
        raise TypeError(
            f"Got a {type(painting).__name__} for a painting. Allowed are a picture and {{'image': …, 'text': …}}."
        )
    if hasattr(painting, "iloc"):
        painting = {key: painting[key] for key in KEYS if key in painting.index}
    if not isinstance(painting, Mapping) or set(painting) == _CELL:
        painting = {"image": painting}
    if unknown := [key for key in painting if key not in (*KEYS, *task_names)]:
        raise ValueError(
            f"Got a painting with the keys {_named(unknown)}. Allowed are {list(KEYS)}. Rename or remove them."
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
        raise TypeError(
            f"Got the text {repr(text)[:60]} of type {type(text).__name__}. Allowed are strings, and None for a row "
            "without text. Convert it, or put None."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Got a text with half a character at place {error.start}, which UTF-8 cannot write. Decode it again."
        ) from error
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


def _undecoded(dataset: Any) -> Any:
    """The dataset in Python's types, with pictures as files, so that they are read as all others are, one by one."""
    if hasattr(dataset, "with_format"):
        dataset = dataset.with_format(None)
    feature: Any = (getattr(dataset, "features", None) or {}).get("image")
    if type(feature).__name__ != "Image" or not hasattr(dataset, "cast_column"):
        return dataset
    return dataset.cast_column("image", type(feature)(decode=False))


def _named(keys: Iterable[Any]) -> list[str]:
    return [str(key)[:40] for key in keys][:20]
