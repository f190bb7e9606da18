"""One picture file of a catalogue: checked, decoded no larger than needed, resized once, stored small."""

import hashlib
import io
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import semart_hf
from semart_hf.model.picture_sources_semart import picture_error, read_file
from semart_hf.model.pictures_semart import open_picture, reduce_jpeg, to_rgb

#: How a prepared picture can be stored: ending of its name and Pillow's options; from 92 on no losses are seen.
ENCODINGS: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": (".jpg", {"format": "JPEG", "quality": 92, "subsampling": "4:4:4"}),
    "png": (".png", {"format": "PNG"}),
    "webp": (".webp", {"format": "WEBP", "quality": 92}),
}
_MIN_SIDE = 16  # pixels; a shorter one shows no painting
_MAX_ASPECT = 25  # a long handscroll is about 1 to 20; more comes from broken files
# What Pillow notes of a JPEG that carries nothing beside its pixels, such as EXIF, a profile or a comment.
_PLAIN_INFO = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "progressive", "progression"}
_COSINE = np.cos(np.pi / 64 * np.outer(np.arange(16), np.arange(64) + 0.5)).astype(np.float32)


@dataclass(frozen=True)
class PreparedPicture:
    """A picture as it is stored, and what was learned on the way."""

    content: bytes  # the encoded file
    source_size: tuple[int, int]  # width and height in the source's file, before EXIF rotation
    source_format: str  # by Pillow's name
    source_digest: bytes  # 16 bytes
    signature: bytes  # see `picture_signature`
    num_frames: int  # more than 1 for an animation or a file of several pages, of which the first is stored


def prepare_picture(path: Path, *, image_size: int, encoding: str = "jpeg") -> PreparedPicture:
    """The picture of a file in RGB, its shorter side `image_size` pixels, or less where the file has less.

    A plain JPEG that is small enough stays as it is, byte by byte: coding it again would only lose.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files: what matters is raised or reported
        semart_hf.register_heif()
        source = read_file(path)
        picture = open_picture(source)
        source_size, source_format = picture.size, str(picture.format)
        shorter, longer = sorted(source_size)
        if shorter < _MIN_SIDE or longer > _MAX_ASPECT * shorter:
            limits = f"sides of {_MIN_SIDE} pixels or more and at most {_MAX_ASPECT} to 1 show a painting"
            raise picture_error("absurd_size", f"{picture.width:,} x {picture.height:,} pixels; {limits}")
        num_frames = 1
        with suppress(Exception):  # a later frame is broken; whether this one is shows itself in decoding
            num_frames = int(getattr(picture, "n_frames", 1))
        is_plain = source_format == "JPEG" and picture.mode == "RGB" and set(picture.info) <= _PLAIN_INFO
        reduce_jpeg(picture, image_size)
        rgb = to_rgb(picture)
    shorter = min(rgb.size)
    size = [max(1, round(side * image_size / shorter)) for side in rgb.size]
    small = rgb if shorter <= image_size else rgb.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    is_ready = is_plain and small.size == source_size and encoding == "jpeg"
    return PreparedPicture(
        content=source if is_ready else _encode(small, encoding),
        source_size=source_size,
        source_format=source_format,
        source_digest=hashlib.blake2b(source, digest_size=16).digest(),
        signature=picture_signature(small),
        num_frames=num_frames,
    )


def picture_signature(picture: Image.Image) -> bytes:
    """32 bytes that say how light and dark lie in the picture, at its 256 coarsest frequencies.

    Source: the perceptual hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010,
        section 3.2.1, with 16 x 16 instead of 8 x 8 coefficients.
    """
    grey = picture.resize((64, 64), Image.Resampling.BOX).convert("L")
    # einsum and not @, whose threads would wait for each other in every worker.
    rows = np.einsum("fy,yx->fx", _COSINE, np.asarray(grey, dtype=np.float32))
    frequencies = np.einsum("fx,gx->fg", rows, _COSINE)
    bits = frequencies > np.median(frequencies.ravel()[1:])  # the first one is the mean brightness
    return np.packbits(bits).tobytes()


def _encode(picture: Image.Image, encoding: str) -> bytes:
    bare = Image.new(picture.mode, picture.size)  # PNG and WebP files take profile and EXIF from the picture itself
    bare.paste(picture)
    file = io.BytesIO()
    bare.save(file, **ENCODINGS[encoding][1])
    return file.getvalue()
