"""Whether the training pictures lie on the accelerator."""

from typing import Any

import psutil
import torch

from semart_hf.data.resident_pictures import num_pixels, read_pictures
from semart_hf.data.streaming import PaintingStream

from .arguments import SemArtTrainingArguments
from .recipe import DataArguments

# The other half is for the model, its gradients and everybody else.
SHARE_OF_FREE_MEMORY = 0.5


def with_resident_pictures(
    rows: Any, data: DataArguments, training: SemArtTrainingArguments
) -> tuple[Any, str | None]:
    """The training rows, their pictures decoded on the device where the recipe wants that, and a sentence about them.

    Args:
        rows: The train split with undecoded pictures, or a stream.
        data: The recipe's.
        training: The recipe's, which know the device.

    Raises:
        ValueError: If the recipe wants it and the pictures are streamed, not shown, or too many.
    """
    if data.resident_pictures == "false":
        return rows, None
    is_asked = data.resident_pictures == "true"
    if isinstance(rows, PaintingStream) or "image" not in data.modality:
        if is_asked:
            raise ValueError(
                f"The recipe has resident_pictures: true with streaming: {str(data.streaming).lower()} and modality: "
                f"{data.modality}, but only pictures that are shown and not streamed can lie on the device. Set "
                "resident_pictures: false."
            )
        return rows, None
    device = training.device
    if device.type == "cpu" and not is_asked:
        return rows, None
    needed, free = 3 * num_pixels(rows), _free_bytes(device)
    if needed > SHARE_OF_FREE_MEMORY * free:
        room = f"{needed / 1e9:.1f} GB of pictures, {free / 1e9:.1f} GB free on {device}"
        if is_asked:
            raise ValueError(
                f"resident_pictures is true, but they may take half of the free memory at most: {room}. Lower "
                "prepared_size, or set resident_pictures: false."
            )
        return rows, f"Training pictures: decoded in every epoch ({room})"
    shows_progress = training.process_index == 0 and not training.disable_tqdm
    resident = read_pictures(rows, device, show_progress=shows_progress)
    return resident, f"Training pictures: {needed / 1e9:.1f} GB on {device}, decoded once"


def _free_bytes(device: torch.device) -> int:
    """Free memory of a device; none of one that cannot tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    return 0
