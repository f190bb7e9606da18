"""Copies within a batch: rows with an equal text, or with one picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semart_hf.preparation.duplicates import MAX_BITS, text_digest
from semart_hf.preparation.prepared_pictures import picture_signature

_TEXT_BYTES = 8


def pair_keys(pictures: Sequence[Any], texts: Sequence[str | None]) -> Tensor:
    """What copies are recognised by, `(batch, bytes)`: each row's digest of its text and signature of its picture."""
    keys = np.zeros((len(texts), _TEXT_BYTES + 32), dtype=np.uint8)
    for key, picture, text in zip(keys, pictures, texts, strict=True):
        if picture is not None and text is not None:
            content = bytes.fromhex(text_digest(text)) + picture_signature(picture)
            key[:] = np.frombuffer(content, dtype=np.uint8)
    return torch.from_numpy(keys)


def are_copies(keys: Tensor, others: Tensor) -> Tensor:
    """Whether rows have an equal text or copies of one picture `(batch, others)`."""
    if not keys.shape[1]:
        return torch.zeros(len(keys), len(others), dtype=torch.bool, device=keys.device)
    same_text = (keys[:, None, :_TEXT_BYTES] == others[None, :, :_TEXT_BYTES]).all(-1)
    bits = torch.arange(8, device=keys.device)
    signs, other_signs = (
        ((part[:, _TEXT_BYTES:, None] >> bits & 1).flatten(1).float() * 2 - 1) for part in (keys, others)
    )
    return same_text | (signs @ other_signs.T >= signs.shape[1] - 2 * MAX_BITS)
