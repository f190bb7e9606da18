"""Where a measurement takes place: the made data, the towers' recipes, and the commands of the measured processes."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.made_release import make_release, make_text_tower
from benchmarks.turns import Side
from semart_hf.training.recipe import RECIPES, read_recipe

FRONT = Path(__file__).resolve().parents[1] / "benchmark.py"
TEXT_LENGTH = 128  # tokens that texts are padded or cut to


@dataclass(frozen=True)
class Setting:
    """What both sides share: a recipe's fields, the folders of data and text tower, and the device."""

    recipe: Mapping[str, Any]
    release: str
    text_tower: str
    device: str = "cpu"

    @property
    def vision(self) -> str:
        """The timm architecture of `timm/resnet18.a1_in1k`, or a name as it stands."""
        return str(self.recipe["vision"]).split("/")[-1].split(".")[0]

    @property
    def image_size(self) -> int:
        """Of the tower's input."""
        return int(self.recipe.get("image_size") or 224)

    @property
    def batch_size(self) -> int:
        """Of a training step."""
        return int(self.recipe["per_device_train_batch_size"])


@dataclass(frozen=True)
class Bench:
    """A folder with made data, the device that computes, and what figures say of the data."""

    folder: Path
    device: str
    data_facts: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """Variables of all measured processes: nothing is downloaded, and caches begin empty."""
        variables = {
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_DATASETS_CACHE": str(self.folder / "cache"),
        }
        return variables if self.device == "cuda" else {**variables, "CUDA_VISIBLE_DEVICES": ""}

    def setting(self, recipe: Path) -> Setting:
        """A recipe on the made data."""
        release, text_tower = str(self.folder / "release"), str(self.folder / "text_tower")
        return Setting(read_recipe(recipe), release, text_tower, self.device)

    def side(self, name: str, part: str, recipe: Path, *words: str) -> Side:
        """A process that runs one of `sides.SIDES`."""
        setting = json.dumps(asdict(self.setting(recipe)))
        return Side(name, [sys.executable, str(FRONT), "side", part, setting, *words], self.environment)

    def training_side(
        self, name: str, recipe: Path, fields: Mapping[str, Any] | None = None, *, without: str = ""
    ) -> Side:
        """scripts/train.py by a recipe with some fields changed, under `accelerate launch` as the README has it.

        Both sides show every row's picture and text: a row without one would cost less. Validation is left out, and
        from the trainer's list of techniques the one that is named.
        """
        setting = self.setting(recipe)
        changed: dict[str, Any] = {
            "data": setting.release,
            "output_dir": self.folder / f"model-{name.replace(' ', '-')}",
            "overwrite_output_dir": True,
            "vision": setting.vision,
            "pretrained": "text",
            "text": setting.text_tower,
            "max_text_length": TEXT_LENGTH,
            "image_dropout": 0,
            "text_dropout": 0,
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            **(fields or {}),
        }
        words = [word for field, value in changed.items() for word in (f"--{field}", str(value))]
        cores = os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0)))
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_cpu_threads_per_process", cores]
        launch += ["--config_file", str(RECIPES / "accelerate" / "one_process.yaml")]
        command = [*launch, str(FRONT), "side", "ours-train", without, str(recipe), *words]
        return Side(name, command, self.environment)


def recipe_of(tower: str) -> Path:
    """The recipe's file of a tower's name, or of a path.

    Raises:
        ValueError: If there is none.
    """
    path = Path(tower) if tower.endswith(".yaml") else RECIPES / f"semart-{tower}.yaml"
    if not path.is_file():
        raise ValueError(
            f"Got the tower {tower!r}, but there is no {path}. Allowed are resnet18, efficientnet_b0, vit_tiny and "
            "paths of recipes. Correct --tower."
        )
    return path


@contextmanager
def made_bench(
    rows: int, *, device: str = "cpu", text_sizes: Mapping[str, int] | None = None, **release: Any
) -> Iterator[Bench]:
    """A bench with data made for it, removed at the end; further arguments are those of `make_release`."""
    # A process that was just ended may still write.
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
        picture_bytes = make_release(Path(folder, "release"), rows, **release)
        make_text_tower(Path(folder, "text_tower"), **(text_sizes or {}))
        yield Bench(Path(folder), device, {"rows": rows, "picture_bytes": picture_bytes, "device": device})
