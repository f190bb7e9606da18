"""How a model computes fast: the precision, and named techniques; neither changes the model or the process."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

PRECISIONS = ("auto", "bf16", "fp32")
# Attention weights of more tokens than this are better never written down as a whole.
MOST_TOKENS = 256
# For each model that is in evaluation mode for now: how many contexts hold it there, and its modules in training mode.
_EVALUATED: WeakKeyDictionary[nn.Module, tuple[int, list[nn.Module]]] = WeakKeyDictionary()
_COUNTING = threading.Lock()


def computes_bf16(device: torch.device | str) -> bool:
    """Whether a device multiplies in bfloat16; others emulate it, several times as slowly as float32."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and any(torch.cpu.get_capabilities().get(name) for name in ("amx_tile", "avx512_bf16"))


def uses_bf16(model: PreTrainedModel, precision: str = "auto") -> bool:
    """Whether a float32 model's matrix products are computed in bfloat16; `auto`: where `computes_bf16`."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}. Allowed are {list(PRECISIONS)}. Give one of them.")
    is_wanted = precision == "bf16" or (precision == "auto" and computes_bf16(model.device))
    return is_wanted and model.dtype == torch.float32


def autocast_context(model: PreTrainedModel, precision: str = "auto") -> torch.autocast:
    """The context in which a model computes in a precision: see `uses_bf16`."""
    return torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=uses_bf16(model, precision))


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """The context in which few numbers that decide much are computed in their own type: bfloat16 has three digits."""
    is_on = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if is_on else nullcontext()


@dataclass(frozen=True)
class Technique:
    """A named way to compute the same numbers faster but for rounding."""

    name: str  # in tables
    is_useful: Callable[[PreTrainedModel, bool], bool]  # for a model where it is now, and in bfloat16 or not
    # What computes a function of torch in its place, within `select_kernels`.
    kernels: Mapping[Callable[..., Any], Callable[..., Any]] = field(default_factory=dict)


def attention_in_steps(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **options: Any
) -> Tensor:
    """What `scaled_dot_product_attention` gives, as two products and a softmax, for few tokens."""
    if options.get("is_causal") or options.get("enable_gqa") or key.shape[-2] > MOST_TOKENS:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, **options)
    scale = options.get("scale")
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return F.dropout(scores.softmax(-1), dropout_p).to(value.dtype) @ value


def _convolves(model: PreTrainedModel, bf16: bool) -> bool:
    # A transformer's one convolution cuts patches, which gains nothing.
    return sum(isinstance(module, nn.Conv2d) for module in model.vision_tower.modules()) > 1


# A tower that convolves computes faster with a picture's channels side by side, not only in its stem.
CHANNELS_LAST = Technique("channels last", _convolves)  # see `prepare_inputs`
# On a CPU without AMX torch's fused attention takes longer in bfloat16 than its three steps.
ATTENTION_IN_STEPS = Technique(
    "attention in steps",
    lambda model, bf16: bf16 and model.device.type == "cpu" and not torch.cpu.get_capabilities().get("amx_tile"),
    kernels={F.scaled_dot_product_attention: attention_in_steps},
)
INFERENCE_TECHNIQUES = (CHANNELS_LAST, ATTENTION_IN_STEPS)


def useful_techniques(
    model: PreTrainedModel, *, bf16: bool, techniques: Iterable[Technique] = INFERENCE_TECHNIQUES
) -> tuple[Technique, ...]:
    """Those of the techniques that serve a model where it is now."""
    return tuple(technique for technique in techniques if technique.is_useful(model, bf16))


def prepare_inputs(inputs: Mapping[str, Any], techniques: Iterable[Technique]) -> dict[str, Any]:
    """The model's inputs with pictures in the memory format that the techniques want; their values stay."""
    prepared = dict(inputs)
    if CHANNELS_LAST in techniques and isinstance(inputs.get("pixel_values"), Tensor):
        prepared["pixel_values"] = inputs["pixel_values"].contiguous(memory_format=torch.channels_last)
    return prepared


class _SelectedKernels(TorchFunctionMode):
    def __init__(self, kernels: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        super().__init__()
        self.kernels = kernels

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.kernels.get(func, func)(*args, **(kwargs or {}))


def select_kernels(techniques: Iterable[Technique]) -> AbstractContextManager[Any]:
    """The context in which this thread computes by the techniques' kernels."""
    kernels = {function: kernel for technique in techniques for function, kernel in technique.kernels.items()}
    return _SelectedKernels(kernels) if kernels else nullcontext()


def weights_prepared_once(model: PreTrainedModel) -> Technique:
    """The technique for a model whose weights stay as they are: made ready for bfloat16 once, not for each batch.

    Those of linear and convolution layers are cast, and on a CPU the first lie as oneDNN multiplies them. The copy
    takes half of the weights' memory.
    """
    device = model.device.type
    has_onednn = device == "cpu" and torch.backends.mkldnn.is_available()
    is_packed = has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # by the CPU
    # Not those that a hook brings, nor of a kind that multiplies in its own way.
    weights = {one for one in model.parameters() if type(one) is nn.Parameter and one.dtype == torch.float32}
    ready: dict[Tensor, Tensor] = {}

    def compute(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        is_own = len(given) >= 3 and given[1] in weights and given[1].device.type == device
        # Fusion and heads are computed in float32, without autocast; a packed product has no gradient.
        if named or not is_own or torch.is_grad_enabled() or not torch.is_autocast_enabled(device):
            return function(*given, **named)
        inputs, weight, bias, *options = given
        lies_packed = is_packed and function is F.linear
        if weight not in ready:
            cast = weight.detach().bfloat16()
            ready[weight] = torch.ops.mkldnn._reorder_linear_weight(cast) if lies_packed else cast
        given = inputs.bfloat16(), ready[weight], None if bias is None else bias.bfloat16(), *options
        return torch.ops.mkldnn._linear_pointwise(*given, "none", [], "") if lies_packed else function(*given)

    kernels = {function: partial(compute, function) for function in (F.linear, F.conv2d)}
    return Technique("weights prepared once", lambda _, bf16: bf16, kernels)


def run_model(
    model: PreTrainedModel, inputs: Mapping[str, Any], *, precision: str = "auto", also: Iterable[Technique] = ()
) -> Any:
    """The model's output in evaluation mode, in a precision and by the techniques that serve it; it stays as it is.

    `also` are techniques beside `INFERENCE_TECHNIQUES`, for example `weights_prepared_once` for many batches.
    """
    chosen = useful_techniques(model, bf16=uses_bf16(model, precision), techniques=(*INFERENCE_TECHNIQUES, *also))
    with evaluation_mode(model), autocast_context(model, precision), select_kernels(chosen):
        return model(**prepare_inputs(inputs, chosen))


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """The context, in any number of threads, in which a model is in evaluation mode; then modes return."""
    with _COUNTING:
        count, training = _EVALUATED.get(model) or (0, [module for module in model.modules() if module.training])
        _EVALUATED[model] = count + 1, training
        for module in training:
            module.training = False
    try:
        yield
    finally:
        with _COUNTING:
            count, training = _EVALUATED.pop(model)
            if count > 1:
                _EVALUATED[model] = count - 1, training
            for module in training if count == 1 else ():
                module.training = True
