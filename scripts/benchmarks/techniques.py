"""The techniques of speed: those of the trainer's list, and those that a field of the recipe switches off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import timm
import torch

from semart_hf.model.techniques_semart import Technique, computes_bf16, useful_techniques
from semart_hf.training.techniques import TRAINING_TECHNIQUES

FIELDS: dict[str, dict[str, Any]] = {
    "frozen text computed once": {"cache_frozen_text": "false"},
    "pictures made small once": {"prepare": False},  # these go through another filter than the painting's own file
    "bfloat16": {"precision": "fp32"},
    "freed memory kept": {"keep_freed_memory": False},
}


def techniques_of(vision: str, device: str) -> dict[str, dict[str, Any]]:
    """Names of the techniques that serve a timm architecture on a device, each with the fields that switch it off.

    Those of the trainer's list have no field: the trainer is given another list.
    """
    bf16 = computes_bf16(device)
    serves = {"bfloat16": bf16, "freed memory kept": device == "cpu"}
    switched = {name: off for name, off in FIELDS.items() if serves.get(name, True)}
    return switched | {technique.name: {} for technique in useful_for(timm.create_model(vision), device, bf16=bf16)}


def useful_for(tower: torch.nn.Module, device: str, *, bf16: bool) -> tuple[Technique, ...]:
    """Techniques of the trainer's list that serve a vision tower on a device."""
    model: Any = SimpleNamespace(vision_tower=tower, device=torch.device(device))
    return useful_techniques(model, bf16=bf16, techniques=TRAINING_TECHNIQUES)
