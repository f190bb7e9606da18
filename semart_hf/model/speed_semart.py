"""What makes a model faster where it runs, and changes nothing else: its numbers' place in memory, and its kernels."""

import ctypes
import platform
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from timm.layers import use_fused_attn
from torch import Tensor, nn
from transformers import PreTrainedModel

PRECISIONS = ("auto", "bf16", "fp32")
# Attention weights of more tokens than this are better never written down as a whole.
MOST_TOKENS = 256

# glibc's names for: how many blocks may be mapped on their own, and from how many free bytes on they are given back.
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1


def computes_bf16(device: torch.device | str) -> bool:
    """Whether a device multiplies in bfloat16: a GPU of compute capability 8 or later, a CPU with AMX or AVX512_BF16.

    Others emulate it, several times as slowly as they compute in float32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def answers_in_bf16(model: PreTrainedModel, precision: str = "auto") -> bool:
    """Whether a model's matrix products are to be computed in bfloat16 where it is now.

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


def answering_in(model: PreTrainedModel, precision: str = "auto") -> torch.autocast:
    """The context in which a model answers: see `answers_in_bf16`. Its weights stay what they are."""
    return torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=answers_in_bf16(model, precision))


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """The context in which few numbers that decide much are computed in their own type: bfloat16 has three digits."""
    is_on = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if is_on else nullcontext()


def order_channels(model: PreTrainedModel) -> None:
    """Lay the vision tower's kernels out in memory as it computes fastest with them; their values stay.

    With a picture's channels side by side a tower computes faster that convolves, not only in its stem: a
    transformer's one convolution cuts patches, which gains nothing.
    """
    tower: nn.Module = model.vision_tower
    convolves = sum(isinstance(module, nn.Conv2d) for module in tower.modules()) > 1
    tower.to(memory_format=torch.channels_last if convolves else torch.contiguous_format)


def choose_kernels(model: nn.Module, *, bf16: bool) -> None:
    """Let towers compute by what is fastest where they are; the numbers are the same but for rounding.

    Args:
        model: A model, or a timm tower.
        bf16: Whether it runs under bfloat16 autocast.
    """
    is_on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    # On a CPU without AMX torch's fused attention takes two to three times as long in bfloat16 as its three steps.
    is_slow_fused = bf16 and is_on_cpu and not torch.cpu._is_amx_tile_supported()
    text_tower = getattr(model, "text_tower", None)
    if text_tower is not None and is_slow_fused and text_tower.config._attn_implementation == "sdpa":
        text_tower.set_attn_implementation("eager")
    for module in model.modules():
        patches = getattr(module, "patch_embed", None)
        if patches is not None and getattr(patches, "num_patches", MOST_TOKENS + 1) <= MOST_TOKENS:
            for part in module.modules():
                if hasattr(part, "fused_attn"):
                    part.fused_attn = bool(use_fused_attn()) and not is_slow_fused  # type: ignore[assignment]
        elif type(module) is nn.Conv2d and 1 < module.groups == module.in_channels == module.out_channels:
            module.__class__ = DepthwiseConv2d


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution whose gradient a CPU computes in float32, also where all else is bfloat16.

    oneDNN has no fast kernel for the gradient of the weights in bfloat16: casting to float32 and back saves far more
    than it costs. Elsewhere this is `Conv2d`; so are its parameters and their names.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`(batch, channels, height, width)`, as `Conv2d` gives it."""
        is_reduced = input.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        is_plain = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        if not (is_reduced and is_plain and torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(input)
        convolved: Tensor = _DepthwiseConvolution.apply(input, self.weight, self.bias, self)
        return convolved


class _DepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.layer = layer
        return layer._conv_forward(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        layer, wanted = ctx.layer, ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):
            of_input, of_weight, of_bias = torch.ops.aten.convolution_backward(
                gradient.float(),
                input.float(),
                weight.float(),
                None if layer.bias is None else list(layer.bias.shape),
                layer.stride,
                layer.padding,
                layer.dilation,
                False,
                [0, 0],
                layer.groups,
                [wanted[0], wanted[1], wanted[2]],
            )
        return None if of_input is None else of_input.to(input.dtype), of_weight, of_bias, None


@cache
def keep_freed_memory() -> bool:
    """Whether freed memory from now on stays with the process, for the next batch.

    glibc gives each large tensor back to the system when it is freed, and the next one is then filled with zeros page
    by page: up to half of a forward pass on a CPU. As with torch's allocator on a GPU, the process thus keeps the most
    that it uses from now on; what loading left free is given back first. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    library.malloc_trim(0)
    return bool(library.mallopt(M_MMAP_MAX, 0) and library.mallopt(M_TRIM_THRESHOLD, -1))
