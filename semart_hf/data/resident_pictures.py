"""Training pictures that lie on the accelerator: decoded once, and cut out of its own memory in every step.

An accelerator trains on SemArt's pictures faster than a machine decodes them. Prepared, all of them are about 5 GB of
bytes: where these fit, a batch brings only the numbers of its draws, and no file is read after the first minute.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from semart_hf.model.image_processing_semart import load_picture

from .augmentation import Draw
from .picture_batch import REDUCED_BEYOND, PictureBatch, batch_of, output_points, placed_crop, within_edges

_NUM_THREADS = 8  # Pillow's decoders run beside each other
_NUM_TOGETHER = 256  # pictures that are copied at a time


class PicturePlace(NamedTuple):
    """What a row has in the place of a picture that lies on the accelerator.

    Attributes:
        start: Where its first pixel lies among all pixels.
        width: In pixels.
        height: In pixels.
    """

    start: int
    width: int
    height: int


class ResidentRows(Sequence[dict[str, Any]]):
    """The rows of a dataset whose pictures lie in `pixels`.

    Args:
        paintings: The rows, with the column `image` or without.
        places: Where each row's picture lies; `None` where a row has none.
        pixels: All pixels of all pictures `(number, 3)` of uint8, on the device that trains.
    """

    def __init__(self, paintings: Any, places: Sequence[PicturePlace | None], pixels: Tensor) -> None:
        has_images = "image" in getattr(paintings, "column_names", [])
        self.paintings = paintings.remove_columns("image") if has_images else paintings
        self.places = places
        self.pixels = pixels

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, the pictures not among them."""
        return list(self.paintings.column_names)

    @property
    def features(self) -> Any:
        """Types of the columns."""
        return self.paintings.features

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, key: Any) -> Any:
        """A row by its index, with its `PicturePlace` as `image`; a column by its name."""
        if isinstance(key, str):
            return self.paintings[key]
        return {**self.paintings[key], "image": self.places[key]}

    def __getstate__(self) -> dict[str, Any]:
        """Without the pixels: a data loader's workers send places, never pictures."""
        return {**self.__dict__, "pixels": self.pixels[:0].cpu()}


@dataclass(frozen=True)
class ResidentCuts:
    """Pictures of a batch as places among all pixels.

    Args:
        starts: Of each picture's first pixel `(pictures,)`.
        extents: Width and height `(pictures, 2)`.
        finenesses: How many times finer than the output each picture is looked at, on both axes `(pictures,)`, on
            the CPU: a large crop is averaged, as it would be reduced with a filter.
        pixels: All pixels `(number, 3)`; `None` until the batch is where they are.
    """

    starts: Tensor
    extents: Tensor
    finenesses: tuple[int, ...]
    pixels: Tensor | None = None

    def sample(self, matrices: Tensor, size: int, part: slice) -> Tensor:
        """See `PictureSource`.

        Raises:
            ValueError: If the pixels are not known.
        """
        if self.pixels is None:
            raise ValueError(
                "Got a batch of places without the pixels. Batches of resident pictures are finished by the Trainer, "
                "which gives them batch.with_pixels(rows.pixels); set finishes_pictures=False."
            )
        starts, extents, finenesses = self.starts[part], self.extents[part], self.finenesses[part]
        values = matrices.new_empty(len(starts), 3, size, size)
        for fineness in sorted(set(finenesses)):
            chosen = torch.tensor([i for i, own in enumerate(finenesses) if own == fineness], device=matrices.device)
            points = within_edges(output_points(matrices[chosen], fineness * size), extents[chosen])
            found = _bilinear(self.pixels, starts[chosen], extents[chosen, 0].long(), points)
            values[chosen] = F.avg_pool2d(found, fineness) if fineness > 1 else found
        return values

    def map(self, change: Any) -> "ResidentCuts":
        """See `PictureSource`."""
        return replace(self, starts=change(self.starts), extents=change(self.extents))


def _bilinear(pixels: Tensor, starts: Tensor, widths: Tensor, points: Tensor) -> Tensor:
    """Values `(pictures, 3, height, width)` at points `(pictures, 2, height, width)` between pixels' centres."""
    low = (points - 0.5).floor()
    across, down = (points - 0.5 - low).unsqueeze(-1).unbind(1)
    column, row = low.long().unbind(1)
    width = widths[:, None, None]
    first = starts[:, None, None] + row * width + column
    # Exactly on the last pixel's centre there is no next one, and it has no weight.
    right = (across.squeeze(-1) > 0).long()
    below = (down.squeeze(-1) > 0).long() * width
    upper = torch.lerp(pixels[first].float(), pixels[first + right].float(), across)
    lower = torch.lerp(pixels[first + below].float(), pixels[first + below + right].float(), across)
    return torch.lerp(upper, lower, down).permute(0, 3, 1, 2)


def place_pictures(
    places: Sequence[PicturePlace], draws: Sequence[Draw], *, size: int, **options: Any
) -> PictureBatch:
    """A batch of pictures that lie on the accelerator; the options are those of `gather_pictures`."""
    matrices, finenesses = [], []
    for place, numbers in zip(places, draws, strict=True):
        turned, center = placed_crop(numbers, place.width, place.height)
        matrices.append(np.column_stack([turned, center]))
        reduction = max(numbers.width * place.width, numbers.height * place.height) / size
        finenesses.append(int(np.ceil(reduction)) if reduction > REDUCED_BEYOND else 1)
    source = ResidentCuts(
        starts=torch.tensor([place.start for place in places]),
        extents=torch.tensor([(place.width, place.height) for place in places], dtype=torch.float32),
        finenesses=tuple(finenesses),
    )
    return batch_of(source, np.stack(matrices), draws, size=size, **options)


def with_pixels(batch: PictureBatch, pixels: Tensor) -> PictureBatch:
    """The batch, able to be finished where the pixels are."""
    return replace(batch, source=replace(batch.source, pixels=pixels))  # type: ignore[type-var]


def num_pixels(paintings: Any) -> int:
    """Pixels of all pictures, of which only the heads of their files are read."""
    return sum(_num_pixels(row["image"]) for row in paintings if row["image"] is not None)


def read_pictures(paintings: Any, device: torch.device | str, *, show_progress: bool = False) -> ResidentRows:
    """The rows with all their pictures on a device.

    Args:
        paintings: Rows whose `image` is an undecoded file, upright and in RGB as prepared pictures are, or any other
            that `load_picture` takes.
        device: Where the pictures are to lie.
        show_progress: Whether a bar is drawn.

    Raises:
        ValueError: If a picture cannot be read.
    """
    places: list[PicturePlace | None] = []
    total = num_pixels(paintings)
    pixels = torch.empty(total, 3, dtype=torch.uint8, device=device)
    start = 0
    bar = tqdm(total=len(paintings), desc="reading pictures", unit="picture", disable=not show_progress)
    with bar, ThreadPoolExecutor(_NUM_THREADS) as threads:
        for cells in _chunks(paintings):
            pictures = list(threads.map(_values, cells))
            shown = [picture for picture in pictures if picture is not None]
            if shown:
                values = torch.from_numpy(np.concatenate([picture.reshape(-1, 3) for picture in shown]))
                pixels[start : start + len(values)] = values.to(device)
            for picture in pictures:
                places.append(None if picture is None else PicturePlace(start, picture.shape[1], picture.shape[0]))
                start += 0 if picture is None else picture.shape[0] * picture.shape[1]
            bar.update(len(cells))
    return ResidentRows(paintings, places, pixels)


def _chunks(paintings: Any) -> Iterator[list[Any]]:
    cells = (row["image"] for row in paintings)
    while chunk := list(islice(cells, _NUM_TOGETHER)):
        yield chunk


def _values(cell: Any) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    return None if cell is None else np.asarray(load_picture(cell))


def _num_pixels(cell: Mapping[str, Any]) -> int:
    try:
        with Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"]) as picture:
            return picture.width * picture.height
    except (OSError, ValueError, Image.DecompressionBombError):
        return 0  # whoever decodes it says what is wrong with it
