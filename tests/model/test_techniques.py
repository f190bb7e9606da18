import copy
import threading
import weakref
from types import SimpleNamespace

import pytest
import timm
import torch
from rounding import rounding
from small_models import build
from torch import nn
from torch.nn import functional as F

from semart_hf.model.techniques_semart import (
    ATTENTION_IN_STEPS,
    CHANNELS_LAST,
    attention_in_steps,
    autocast_context,
    evaluation_mode,
    prepare_inputs,
    run_model,
    select_kernels,
    useful_techniques,
    uses_bf16,
    weights_prepared_once,
)
from semart_hf.training.techniques import CONVOLUTION_GRADIENTS, TRAINING_TECHNIQUES


@pytest.mark.parametrize(
    ("vision", "in_float32", "in_bfloat16"),
    [
        ("test_resnet", [CHANNELS_LAST], [CHANNELS_LAST, ATTENTION_IN_STEPS]),
        ("test_efficientnet", [CHANNELS_LAST], [CHANNELS_LAST, ATTENTION_IN_STEPS, CONVOLUTION_GRADIENTS]),
        ("test_convnext", [CHANNELS_LAST], [CHANNELS_LAST, ATTENTION_IN_STEPS, CONVOLUTION_GRADIENTS]),
        ("test_vit", [], [ATTENTION_IN_STEPS]),
    ],
)
def test_techniques_are_used_where_they_serve(multiplies_in_bf16, vision, in_float32, in_bfloat16):
    model = build(vision).eval()
    assert list(useful_techniques(model, bf16=False, techniques=TRAINING_TECHNIQUES)) == in_float32
    assert list(useful_techniques(model, bf16=True, techniques=TRAINING_TECHNIQUES)) == in_bfloat16
    pixels = torch.randn(4, *model.config.vision_config.pretrained_cfg["input_size"])
    chosen = useful_techniques(model, bf16=False)
    prepared = prepare_inputs({"pixel_values": pixels}, chosen)["pixel_values"]
    is_last = prepared.is_contiguous(memory_format=torch.channels_last)
    assert is_last is (CHANNELS_LAST in chosen)
    with torch.no_grad():
        expected = model(pixel_values=pixels).logits["type"]
        found = run_model(model, {"pixel_values": pixels}, precision="fp32").logits["type"]
    # 30 layers of at most 1,024 terms.
    torch.testing.assert_close(found, expected, rtol=0, atol=rounding(1024, layers=30))


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("vision", ["test_efficientnet", "test_vit"])
def test_weights_that_are_prepared_once_give_the_same_answers(monkeypatch, vision, is_packed):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: is_packed)
    if is_packed and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU does not multiply packed weights in bfloat16")
    model = build(vision).eval()
    inputs = {"pixel_values": torch.randn(4, *model.config.vision_config.pretrained_cfg["input_size"])}
    ready = weights_prepared_once(model)
    with torch.no_grad():
        expected = run_model(model, inputs, precision="bf16").features
        run_model(model, inputs, precision="bf16", also=[ready])
        for layer in model.vision_tower.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.zero_()
        found = run_model(model, inputs, precision="bf16", also=[ready]).features
        changed = run_model(model, inputs, precision="bf16").features
    # Both round to 8 bits at the same places.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    assert (changed - expected).abs().max() > 3e-3
    weight = nn.Parameter(torch.ones(1, 1, 1, 1))
    with select_kernels([ready]), torch.autocast("cpu", dtype=torch.bfloat16):  # as some towers call it
        assert F.conv2d(torch.ones(1, 1, 2, 2), weight=weight, stride=2).tolist() == [[[[1.0]]]]
        with torch.no_grad():
            assert F.conv2d(torch.ones(1, 1, 1, 1), weight, None).tolist() == [[[[1.0]]]]
        layer = next(one for one in model.text_tower.modules() if isinstance(one, nn.Linear))
        layer(given := torch.ones(1, layer.in_features, requires_grad=True)).sum().backward()
    assert given.grad.any()
    brought = weakref.ref(weight)
    del weight
    assert brought() is None  # a hook brings a layer's weights for each call anew


@pytest.mark.parametrize("vision", ["test_efficientnet", "test_vit"])
def test_kernels_for_bfloat16_are_as_near_to_the_exact_gradient(vision):
    torch.manual_seed(0)
    exact = timm.create_model(vision, num_classes=0, drop_rate=0.0).train()
    usual, fast = copy.deepcopy(exact), copy.deepcopy(exact)
    pixels = torch.randn(4, *exact.default_cfg["input_size"])
    gradients = {}
    for name, tower, techniques in (("exact", exact, ()), ("usual", usual, ()), ("fast", fast, TRAINING_TECHNIQUES)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name != "exact"), select_kernels(techniques):
            features = tower(pixels)
            (features.float() * torch.linspace(-1, 1, features.shape[1])).sum().backward()
        gradients[name] = torch.cat([parameter.grad.flatten() for parameter in tower.parameters()])
    distance = {name: (gradients[name] - gradients["exact"]).norm() for name in ("usual", "fast")}
    # Rounding differs, its size does not: each product is rounded to 8 bits in both.
    assert distance["fast"] < 2 * distance["usual"]


def test_a_depthwise_gradient_is_that_of_float32():
    torch.manual_seed(0)
    usual = nn.Conv2d(6, 6, 5, stride=2, padding=2, groups=6)
    usual.weight.data = usual.weight.data.bfloat16().float()
    fast = copy.deepcopy(usual)
    pixels = torch.randn(3, 6, 9, 9).bfloat16().float()
    outputs, gradients = [], []
    for layer, is_reduced in ((usual, False), (fast, True)):
        given = pixels.clone().requires_grad_()
        kernels = select_kernels([CONVOLUTION_GRADIENTS] if is_reduced else [])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_reduced), kernels:
            outputs.append(layer(given))
        outputs[-1].backward(torch.ones_like(outputs[-1]))
        gradients.append(given.grad)
    assert outputs[1].dtype == torch.bfloat16
    assert type(outputs[1].grad_fn).__name__ == "_DepthwiseConvolutionBackward"
    # The output and its gradient are rounded to 8 bits once.
    torch.testing.assert_close(outputs[1].float(), outputs[0], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-2)
    # The weight's is summed in float32.
    bound = rounding(75, size=75**0.5)  # sums over 3 pictures of 5 x 5 places
    torch.testing.assert_close(fast.weight.grad, usual.weight.grad, rtol=0, atol=bound)
    torch.testing.assert_close(fast.bias.grad, usual.bias.grad, rtol=0, atol=bound)
    for layer in (nn.Conv2d(6, 6, 3), nn.Conv2d(6, 6, 3, groups=6, padding="same"), nn.Conv2d(6, 12, 3, groups=6)):
        with torch.autocast("cpu", dtype=torch.bfloat16), select_kernels([CONVOLUTION_GRADIENTS]):
            assert type(layer(pixels).grad_fn).__name__ != "_DepthwiseConvolutionBackward"


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (1, {"bias": False}),
        (3, {"stride": 2, "padding": 1, "bias": False}),
        ((3, 2), {"stride": (2, 1), "padding": (0, 1)}),
        (3, {"dilation": 2, "padding": 2}),
    ],
)
@pytest.mark.parametrize("is_first", [False, True])  # behind what is frozen
def test_a_dense_gradient_is_that_of_products(multiplies_in_bf16, kernel, options, is_first):
    torch.manual_seed(0)
    layers = nn.ModuleDict({name: nn.Conv2d(64, 256, kernel, **options) for name in ("exact", "usual", "fast")})
    for layer in layers.values():
        layer.load_state_dict({key: value.bfloat16() for key, value in layers["exact"].state_dict().items()})
    pixels = torch.randn(3, 64, 9, 8).bfloat16().float().contiguous(memory_format=torch.channels_last)
    outputs, gradients = {}, {}
    for name, layer in layers.items():
        given = pixels.clone().requires_grad_(not is_first)
        kernels = select_kernels([CONVOLUTION_GRADIENTS] if name == "fast" else [])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name != "exact"), kernels:
            outputs[name] = layer(given)
        outputs[name].backward(torch.linspace(-1, 1, outputs[name].numel()).view_as(outputs[name]).bfloat16())
        gradients[name] = [one.grad for one in (layer.weight, layer.bias, given) if one is not None]
    assert type(outputs["fast"].grad_fn).__name__ == "_DenseConvolutionBackward"
    assert torch.equal(outputs["fast"], outputs["usual"])
    for exact, fast in zip(gradients["exact"], gradients["fast"], strict=True):
        if exact is None:
            assert fast is None
            continue
        torch.testing.assert_close(fast, exact, rtol=1e-2, atol=1e-2 * exact.abs().max().item())  # rounded to 8 bits


def test_a_narrow_or_frozen_convolution_and_one_with_amx_keep_their_gradient(pretend_cpu):
    frozen = nn.Conv2d(64, 256, 3)
    frozen.weight.requires_grad_(False)
    for layer, has_amx in ((nn.Conv2d(3, 256, 3), False), (frozen, False), (nn.Conv2d(64, 256, 3), True)):
        pretend_cpu(amx_tile=has_amx, avx512_bf16=True)
        pixels = torch.randn(2, layer.in_channels, 5, 5)
        with torch.autocast("cpu", dtype=torch.bfloat16), select_kernels([CONVOLUTION_GRADIENTS]):
            assert type(layer(pixels).grad_fn).__name__ != "_DenseConvolutionBackward"


@pytest.mark.parametrize("mask", [None, "bool", "float"])
@pytest.mark.parametrize("num_tokens", [7, 300])
def test_attention_in_steps_is_attention(mask, num_tokens):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, num_tokens, 8)
    shown = torch.ones(2, 1, 1, num_tokens, dtype=torch.bool)
    shown[0, ..., 3:] = False
    masks = {None: None, "bool": shown, "float": torch.zeros(shown.shape).masked_fill(~shown, -1e9)}
    expected = F.scaled_dot_product_attention(query, key, value, masks[mask], scale=0.3)
    with select_kernels([ATTENTION_IN_STEPS]):
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=masks[mask], scale=0.3)
    # Two products and a softmax, of values up to about 4.
    torch.testing.assert_close(found, expected, rtol=0, atol=rounding(num_tokens, layers=3, size=4))
    causal = attention_in_steps(query, key, value, is_causal=True)
    assert torch.equal(causal, F.scaled_dot_product_attention(query, key, value, is_causal=True))


def test_kernels_are_selected_for_one_thread_and_one_block():
    calls = []
    technique = SimpleNamespace(kernels={torch.sigmoid: lambda x: calls.append(threading.get_ident()) or x})
    with select_kernels([technique]):
        thread = threading.Thread(target=torch.sigmoid, args=(torch.zeros(1),))
        thread.start()
        thread.join()
        torch.sigmoid(torch.zeros(1))
    torch.sigmoid(torch.zeros(1))
    assert calls == [threading.get_ident()]


@pytest.mark.parametrize(
    ("precision", "dtype", "is_reduced", "where_emulated"),
    [
        ("auto", torch.float32, True, False),
        ("fp32", torch.float32, False, False),
        ("bf16", torch.float32, True, True),
        ("auto", torch.bfloat16, False, False),
        ("bf16", torch.float64, False, False),
    ],
)
def test_a_model_computes_in_what_is_fast_or_asked_for(pretend_cpu, precision, dtype, is_reduced, where_emulated):
    model = SimpleNamespace(device=torch.device("cpu"), dtype=dtype)
    assert uses_bf16(model, precision) is where_emulated
    pretend_cpu(avx512_bf16=True)
    assert uses_bf16(model, precision) is is_reduced
    with autocast_context(model, precision):
        assert torch.is_autocast_enabled("cpu") is is_reduced
    with pytest.raises(ValueError, match=r"precision is 'fp16'. Allowed are \['auto', 'bf16', 'fp32'\]"):
        autocast_context(model, "fp16")


def test_threads_share_the_evaluation_mode_and_the_last_one_gives_each_modules_own_back():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(3), nn.Linear(2, 2))
    model[2].eval()
    modes = [module.training for module in model.modules()]
    is_open, may_close = threading.Event(), threading.Event()

    def hold():
        with evaluation_mode(model):
            is_open.set()
            may_close.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    is_open.wait(60)
    with pytest.raises(KeyError), evaluation_mode(model):
        raise KeyError
    assert not any(module.training for module in model.modules())
    may_close.set()
    thread.join()
    assert [module.training for module in model.modules()] == modes == [True, True, True, False]
