"""Where a measurement takes place: made data, recipes, techniques of speed, commands of the measured processes."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import timm
import torch

from benchmarks.made_release import make_release, make_text_tower
from benchmarks.turns import Side
from semart_hf.model.techniques_semart import Technique, computes_bf16, useful_techniques
from semart_hf.recipes.recipe import RECIPES, read_recipe
from semart_hf.training.techniques import TRAINING_TECHNIQUES

FRONT = Path(__file__).resolve().parents[1] / "benchmark.py"
TEXT_LENGTH = 128  # tokens that texts are padded or cut to
# Techniques of speed that a field of the recipe switches off.
FIELDS: dict[str, dict[str, Any]] = {
    "frozen text computed once": {"cache_frozen_text": "false"},
    "pictures made small once": {"prepare": False},  # these go through another filter than the painting's own file
    "bfloat16": {"precision": "fp32"},
    "freed memory kept": {"keep_freed_memory": False},
}


class Setting:
    """What both sides share: a folder with made data, a recipe's file, and the device that computes."""

    def __init__(self, folder: Path, path: Path, device: str = "cpu") -> None:
        self.folder, self.path, self.device = folder, path, device
        self.release, self.text_tower = folder / "release", folder / "text_tower"
        self.recipe: Mapping[str, Any] = read_recipe(path)
        # The timm architecture of `timm/resnet18.a1_in1k`, or a name as it stands.
        self.vision = str(self.recipe["vision"]).split("/")[-1].split(".")[0]
        self.image_size = int(self.recipe.get("image_size") or 224)
        self.batch_size = int(self.recipe["per_device_train_batch_size"])

    def side(self, name: str, part: str, *words: str) -> Side:
        """A process that runs one of `sides.SIDES`."""
        setting = [str(self.folder), str(self.path), self.device]
        return self._side(name, [sys.executable, str(FRONT), "side", part, *setting, *words])

    def training_side(self, name: str, *, without: str = "", **fields: Any) -> Side:
        """scripts/train.py by the recipe with some fields changed, under `accelerate launch` as the README has it.

        Both sides show every row's picture and text: a row without one would cost less. Validation is left out, and
        from the trainer's list of techniques the one that is named.
        """
        changed: dict[str, Any] = {
            "data": self.release,
            "output_dir": self.folder / f"model-{name.replace(' ', '-')}",
            "overwrite_output_dir": True,
            "vision": self.vision,
            "pretrained": "text",
            "text": self.text_tower,
            "max_text_length": TEXT_LENGTH,
            "image_dropout": 0,
            "text_dropout": 0,
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            **fields,
        }
        words = [word for field, value in changed.items() for word in (f"--{field}", str(value))]
        launch = [sys.executable, "-m", "accelerate.commands.launch"]
        launch += ["--config_file", str(RECIPES / "accelerate" / "one_process.yaml")]
        return self._side(name, [*launch, str(FRONT), "side", "ours-train", without, str(self.path), *words])

    def _side(self, name: str, command: list[str]) -> Side:
        """Nothing is downloaded, and caches begin empty."""
        environment = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment["HF_DATASETS_CACHE"] = str(self.folder / "cache")
        if self.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        return Side(name, command, environment)


def recipe_of(tower: str) -> Path:
    path = Path(tower) if tower.endswith(".yaml") else RECIPES / f"semart-{tower}.yaml"
    if not path.is_file():
        raise ValueError(
            f"Got the tower {tower!r}, but there is no {path}. Allowed are resnet18, efficientnet_b0, vit_tiny and "
            "paths of recipes. Correct --tower."
        )
    return path


@contextmanager
def made_data(rows: int, text_sizes: Mapping[str, Any] | None = None, **release: Any) -> Iterator[Path]:
    """A folder with a made release and text tower, removed at the end."""
    # A process that was just ended may still write.
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
        make_release(Path(folder, "release"), rows, **release)
        make_text_tower(Path(folder, "text_tower"), **(text_sizes or {}))
        yield Path(folder)


def techniques_of(vision: str, device: str) -> dict[str, dict[str, Any]]:
    """Techniques that serve a timm architecture on a device, by name, with the fields that switch them off."""
    bf16 = computes_bf16(device)
    serves = {"bfloat16": bf16, "freed memory kept": device == "cpu"}
    switched = {name: off for name, off in FIELDS.items() if serves.get(name, True)}
    return switched | {technique.name: {} for technique in useful_for(timm.create_model(vision), device, bf16=bf16)}


def useful_for(tower: torch.nn.Module, device: str, *, bf16: bool) -> tuple[Technique, ...]:
    """Techniques of the trainer's list that serve a vision tower on a device."""
    model: Any = SimpleNamespace(vision_tower=tower, device=torch.device(device))
    return useful_techniques(model, bf16=bf16, techniques=TRAINING_TECHNIQUES)
