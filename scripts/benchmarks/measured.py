"""The processes that are measured: `benchmark.py side NAME …` runs one of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def run_side(words: list[str]) -> None:
    """Run the side that the first word names."""
    name, rest = words[0], words[1:]
    if name == "ours-train":
        from benchmarks import ours

        ours.train(rest)
        return
    if name == "prepare":
        from benchmarks.preparing import STEPS

        way, release, output, num_proc = rest
        print(json.dumps(STEPS[way](Path(release), Path(output), int(num_proc))))
        return
    options = parse_arguments(rest)
    setting = setting_of(options.setting)
    if name.startswith("notebook"):
        from benchmarks import notebook

        if name == "notebook-train":
            notebook.train(setting, epochs=options.epochs)
        else:
            {"notebook-predict": notebook.predict, "notebook-answer": notebook.answer_one_by_one}[name](setting)
    elif name.startswith("limit"):
        from benchmarks import limit
        from semart_hf.model.precision_semart import computes_bf16

        run = {"limit-train": limit.limit_of_training, "limit-inference": limit.limit_of_inference}[name]
        run(setting, bf16=computes_bf16(setting.device), compiled=options.compiled)
    else:
        from benchmarks import ours

        {"ours-predict": ours.predict, "ours-answer": ours.answer_one_by_one}[name](setting, options.model)


def parse_arguments(words: list[str]) -> argparse.Namespace:
    """What follows the side's name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--setting", type=json.loads, required=True)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--compiled", action="store_true")
    return parser.parse_args(words)


def setting_of(words: list[str]) -> Any:
    """The `Setting` whose parts are these words."""
    from benchmarks.notebook import Setting
    from semart_hf.training.recipe import read_recipe

    recipe, release, text_tower, text_length, device = words
    return Setting(read_recipe(recipe), Path(release), Path(text_tower), int(text_length), device)
