"""A painting with the parts that spoke for an answer aglow."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

SHOWN_SIZE = 336
# Vermilion glows on any painting that is first drained of its own colours, and stays visible to the colour-blind.
GLOW = np.array([255.0, 94.0, 0.0])


def overlay(picture: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The picture (height, width, 3) in grey, glowing where the heat (height, width) speaks for the answer."""
    grey = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    base = np.repeat((40 + 0.8 * grey)[:, :, None], 3, axis=2)
    positive = np.clip(heat, 0, None)
    # Only the half that says most glows, or nothing would stand out; one outshining pixel must not darken all others.
    faintest, brightest = (float(np.quantile(positive, share)) for share in (0.5, 0.995))
    brightest = max(brightest, float(positive.max()) / 2, 1e-12)
    strength = (np.clip((positive - faintest) / max(brightest - faintest, 1e-12), 0, 1) * 0.85)[:, :, None]
    return np.asarray(np.clip(base * (1 - strength) + GLOW * strength, 0, 255), dtype=np.uint8)


def overlay_jpeg(picture: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32] | None) -> bytes:
    """The overlay, or without heat the picture itself, as a JPEG large enough to look at."""
    image = Image.fromarray(picture if heat is None else overlay(picture, heat))
    image = image.resize((SHOWN_SIZE, SHOWN_SIZE * image.height // image.width), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
