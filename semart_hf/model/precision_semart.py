"""What a model computes in: bfloat16 where the hardware multiplies in it, float32 elsewhere."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from transformers import PreTrainedModel

PRECISIONS = ("auto", "bf16", "fp32")


def computes_bf16(device: torch.device | str) -> bool:
    """Whether a device multiplies in bfloat16: a GPU of compute capability 8 or later, a CPU with AMX or AVX512_BF16.

    Others emulate it, several times as slowly as they compute in float32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and (has_amx() or bool(torch.cpu.get_capabilities().get("avx512_bf16")))


def has_amx() -> bool:
    """Whether the CPU multiplies matrices in tiles (AMX)."""
    return bool(torch.cpu.get_capabilities().get("amx_tile"))


def uses_bf16(model: PreTrainedModel, precision: str = "auto") -> bool:
    """Whether a model's matrix products are computed in bfloat16 where it is now.

    Args:
        model: One that was loaded in another type than float32 computes in that type.
        precision: `fp32`, `bf16`, or `auto`: bf16 where the hardware multiplies in it.

    Raises:
        ValueError: If the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}. Allowed are {list(PRECISIONS)}. Give one of them.")
    is_wanted = precision == "bf16" or (precision == "auto" and computes_bf16(model.device))
    return is_wanted and model.dtype == torch.float32


def autocast_context(model: PreTrainedModel, precision: str = "auto") -> torch.autocast:
    """The context in which a model computes in a precision: see `uses_bf16`. Its weights stay what they are."""
    return torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=uses_bf16(model, precision))


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """The context in which few numbers that decide much are computed in their own type: bfloat16 has three digits."""
    is_on = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if is_on else nullcontext()
