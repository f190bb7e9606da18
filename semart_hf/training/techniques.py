"""What makes training fast beside the techniques of inference."""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.techniques_semart import INFERENCE_TECHNIQUES, Technique
from semart_hf.model.towers_semart import text_layers


def conv2d_with_float32_gradient(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """`conv2d`, with a depthwise convolution's gradient in float32: oneDNN has no fast kernel for it in bfloat16."""
    is_depthwise = 1 < groups == weight.shape[0] and weight.shape[1] == 1
    is_reduced = torch.is_autocast_enabled("cpu") and torch.is_grad_enabled() and weight.requires_grad
    if not (is_depthwise and is_reduced) or isinstance(padding, str):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    pairs = [[value] * 2 if isinstance(value, int) else list(value) for value in (stride, padding, dilation)]
    return _DepthwiseConvolution.apply(input, weight, bias, *pairs)


class _DepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, *form: list[int]) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.form, ctx.bias_size = form, None if bias is None else list(bias.shape)
        stride, padding, dilation = form
        return F.conv2d(input, weight, bias, stride, padding, dilation, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            tensors = gradient.float(), input.float(), weight.float()
            options = ctx.bias_size, *ctx.form, False, [0, 0], len(weight), list(ctx.needs_input_grad[:3])
            input_gradient, *gradients = torch.ops.aten.convolution_backward(*tensors, *options)
        return None if input_gradient is None else input_gradient.to(input.dtype), *gradients, None, None, None


def _has_depthwise(model: PreTrainedModel, bf16: bool) -> bool:
    layers = (layer for layer in model.vision_tower.modules() if isinstance(layer, nn.Conv2d))
    is_depthwise = (1 < layer.groups == layer.in_channels == layer.out_channels for layer in layers)
    return bf16 and model.device.type == "cpu" and any(is_depthwise)


DEPTHWISE_GRADIENT = Technique(
    "depthwise gradient in float32", _has_depthwise, kernels={F.conv2d: conv2d_with_float32_gradient}
)
TRAINING_TECHNIQUES = (*INFERENCE_TECHNIQUES, DEPTHWISE_GRADIENT)


def compile_options(accelerator: Accelerator) -> dict[str, Any] | None:
    """How the accelerator would compile, if it would, which it no longer does: see `compile_towers`."""
    plugin = accelerator.state.dynamo_plugin
    if plugin.backend == DynamoBackend.NO:
        return None
    # The plugin's own choice is never: a graph for every number of rows.
    options = {**plugin.to_kwargs(), "dynamic": None}
    plugin.backend = DynamoBackend.NO
    return options


def compile_towers(model: SemArtForArtClassification, options: Mapping[str, Any]) -> None:
    """Compile the towers' parts: the accelerator would compile a forward whose choice of rows splits graphs."""
    for part in (model.vision_tower, *text_layers(model.text_tower)):
        part.compile(**options)
