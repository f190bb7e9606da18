"""What the towers of semart-large.yaml take in training: measured on a CPU with random weights, estimated for GPUs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count
from transformers import XLMRobertaConfig

from benchmarks.bench import TEXT_LENGTH, Setting, made_data
from benchmarks.search_scale import in_process
from benchmarks.sides import build_new_model
from benchmarks.turns import rows_per_second
from semart_hf.recipes.recipe import RECIPES, read_recipe

RECIPE = "semart-large"
# Vision towers, with the leading stages that do not learn: a third of a ViT, of a ConvNeXt all before the third stage.
TOWERS = {"vit_base_patch16_siglip_384.v2_webli": 5, "vit_base_patch16_dinov3.lvd1689m": 5}
TOWERS["convnext_base.fb_in22k_ft_in1k_384"] = 3
# Multilingual E5's sizes, with the padding of the made tokenizer.
TEXT_TOWER = XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1, pad_token_id=0)
NUM_ROWS, BATCH, STEPS = 16, 2, 4
OUTSIDE = 1.5  # gigabytes of a GPU that driver, libraries and fragmentation take
ACHIEVED = 50e12  # operations a second: a third of what a GPU of 24 GB offers in bfloat16
SEMART_ROWS = 19_244


def measure_towers(options: argparse.Namespace) -> dict[str, Any]:
    """By vision tower, a training by command with its peak memory, and what `count_tensors` gives."""
    found: dict[str, Any] = {}
    with made_data(NUM_ROWS, TEXT_TOWER) as folder:
        for vision, frozen in TOWERS.items():
            print(f"Training with {vision} ...", flush=True)
            own = {"vision": vision, "frozen_vision_stages": frozen, "per_device_train_batch_size": BATCH}
            path = folder / f"{vision}.yaml"
            path.write_text(json.dumps({**read_recipe(RECIPES / f"{RECIPE}.yaml"), **own}))
            setting = Setting(folder, path)
            with setting.training_side("train", min_label_count=1, dataloader_num_workers=0) as side:
                seconds = BATCH / rows_per_second(side.take_turn(STEPS))
            measured = {"frozen": frozen, "seconds_per_step": round(seconds, 1), "peak_mb": side.peak_bytes >> 20}
            found[vision] = {**in_process(count_tensors, setting), **measured}
    return {"batch_size": BATCH, "steps": STEPS, "image_size": setting.image_size, "towers": found}


def count_tensors(setting: Setting) -> dict[str, Any]:
    """Parameters, and operations and bytes kept for the backward pass of a painting more in a step, in bfloat16.

    `kept_once` are bytes whatever the batch. The frozen text layers have run before.
    """
    model, _ = build_new_model(setting)
    model.train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    depth, side, kept, operations = model.num_frozen_text_layers, setting.image_size, [], []
    for batch in (1, 2):
        mask = torch.ones(batch, TEXT_LENGTH, dtype=torch.long)
        inputs = {"text_hidden": model.encode_frozen_text(mask, mask, depth), "attention_mask": mask}
        inputs |= {"pixel_values": torch.randn(batch, 3, side, side), "labels": mask[:, : len(model.config.tasks)]}
        storages: dict[int, int] = {}

        def note(tensor: torch.Tensor, storages: dict[int, int] = storages) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with operation_counter() as counter, saved_tensors_hooks(note, lambda tensor: tensor):
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(**inputs).loss
            loss.backward()
        kept.append(sum(size for place, size in storages.items() if place not in weights))
        operations.append(counter.get_total_flops())
    return {
        "parameters": model.num_parameters(),
        "learned": model.num_parameters(only_trainable=True),
        "kept_per_row": kept[1] - kept[0],
        "kept_once": 2 * kept[0] - kept[1],
        "operations_per_row": operations[1] - operations[0],
    }


def operation_counter() -> FlopCounterMode:
    """A counter of operations that knows the gradients of grouped convolutions, which torch's own counts too high."""

    def convolution_backward(grad: Any, inputs: Any, weight: Any, *rest: Any, **_: Any) -> int:
        transposed, wanted = rest[4], rest[7]
        return sum(wanted[:2]) * conv_flop_count(inputs, weight, grad, transposed=transposed)

    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: convolution_backward})


def gigabytes(tower: Mapping[str, Any], rows: int) -> float:
    """Estimated memory of a step of so many rows on a GPU: weights, gradients, AdamW's two moments, what is kept."""
    held = 4 * tower["parameters"] + 12 * tower["learned"] + tower["kept_once"]
    return float((held + rows * tower["kept_per_row"]) / 1e9 + OUTSIDE)


def largest_batch(tower: Mapping[str, Any], gpu: int) -> int:
    """The largest power of two whose `gigabytes` a GPU has; 0 where one row is too many."""
    rows = int(max(0.0, gpu - gigabytes(tower, 0)) * 1e9 / tower["kept_per_row"])
    return 2 ** rows.bit_length() // 2
