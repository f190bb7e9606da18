"""Nothing is published that does not load elsewhere: the folder is checked part by part before it is sent."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import DatasetCard, get_token
from PIL import Image

from semart_hf.documents.model_card import EXAMPLE_TEXT, file_url, read_example
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.publishing import clean_process

from .model_repository import make_pipeline
from .private_content import find_private_content
from .pushing import differing_files

TOLERANCE = 1e-5
LOADING_TIMEOUT = 900  # seconds, for reading large weights from a slow disk
_ADVICE = "Run `semart-hf push` again on the folder that the training or `write_repository` wrote."

Answers = list[dict[str, list[dict[str, Any]]]]
Findings = Iterator[tuple[str, str]]


class CheckError(ValueError):
    """A repository that must not be used, because of a part such as `weights`, `model` or `scores`."""

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(f"The repository must not be used because of its {part}. {problem}")


def check_repository(
    folder: Path, model: SemArtForArtClassification, processor: SemArtProcessor, repo_id: str
) -> Findings:
    """Part after part of an assembled repository with what was found; scores are to equal those of the model."""
    folder = folder.resolve()  # the clean process works in a folder of its own
    yield "private content", check_private_content(folder, model.name_or_path)
    yield "weights", check_weights(model)
    code, shown = read_example((folder / "README.md").read_text(encoding="utf-8")) or ("", "")
    code = code.replace(file_url(repo_id, ""), f"{folder}/").replace(f'"{repo_id}"', repr(str(folder)))
    loaded, expected = load_elsewhere({"source": str(folder), "code": code}, model, processor)
    yield from compare(loaded, expected, str(folder))
    if loaded["printed"].strip() != shown.strip():
        raise CheckError(
            "example",
            f"Got the output\n{loaded['printed'].strip()}\nwhere the card shows\n{shown.strip()}\nRender it again.",
        )
    yield "example", "prints what the card shows"


def check_published(
    folder: Path, repo_id: str, revision: str, model: SemArtForArtClassification, processor: SemArtProcessor
) -> Findings:
    """The same of what is on the Hub: its files, and what they load as at the revision in a fresh cache."""
    if wrong := differing_files(folder, repo_id, revision):
        raise CheckError(
            "files", f"Got {wrong} with other content than in {folder}. All files must be equal. Push again."
        )
    yield "files", "on the Hub as in the folder, by their hashes"
    loaded, expected = load_elsewhere({"source": repo_id, "revision": revision}, model, processor)
    yield from compare(loaded, expected, f"{repo_id} at {revision}")


def check_private_content(folder: Path, source: str = "") -> str:
    """That no file names this machine or holds a secret or a pickle; a `CheckError` if one does."""
    if found := find_private_content(folder, source):
        raise CheckError(
            "private content",
            f"Got {len(found)}: {'; '.join(found[:5])}. Allowed are files without paths and names of the machine that "
            "made them. Remove what is named from the file that it came from (results.json, recipe.yaml, the card).",
        )
    return "no path or name of this machine, no token, no pickle"


def check_weights(model: SemArtForArtClassification) -> str:
    """How many tensors there are, all of finite numbers; a `CheckError` if one is not."""
    weights = model.state_dict()
    if broken := [name for name, values in weights.items() if not (values.is_meta or torch.isfinite(values).all())]:
        raise CheckError(
            "weights",
            f"Got NaN or infinity in {', '.join(broken[:3])}. Allowed are numbers. The training diverged: lower its "
            "learning rate, and publish an earlier checkpoint meanwhile.",
        )
    return f"{len(weights):,} tensors of {sum(values.numel() for values in weights.values()):,} numbers, all finite"


def check_dataset(folder: Path) -> Findings:
    """Part after part of a prepared dataset's folder; a `CheckError` without card or data, or with private content."""
    shards = sorted(folder.glob("data/*.parquet"))
    if not (folder / "README.md").is_file() or not shards:
        raise CheckError(
            "files",
            f"Got {folder} without {'data/*.parquet' if not shards else 'README.md'}. Allowed is the folder of a "
            "prepared dataset, with its card. Make it with `semart-hf prepare`.",
        )
    yield "files", f"{len(shards)} files of data, and a card"
    yield "private content", check_private_content(folder)
    card = DatasetCard((folder / "README.md").read_text(encoding="utf-8"))
    if missing := [name for name in ("license", "configs") if not card.data.get(name)]:
        raise CheckError(
            "card", f"Got metadata without {missing}; the Hub needs them. Prepare the data again, for a new card."
        )
    yield "card", f"{len(card.data)} entries"


def load_elsewhere(
    order: Mapping[str, Any], model: SemArtForArtClassification, processor: SemArtProcessor
) -> tuple[dict[str, Any], Answers]:
    """What a clean process answers to an order with three paintings, and the scores that the original gives them."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "painting.png")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 240, 3), dtype=np.uint8)).save(path)
        paintings = [{"image": path, "text": EXAMPLE_TEXT}, {"image": path}, {"text": EXAMPLE_TEXT}]
        expected = make_pipeline(model, processor, precision="fp32")(paintings, top_k=None)
        return ask_clean_process({**order, "paintings": paintings}, offline="revision" not in order), expected


def compare(loaded: Mapping[str, Any], expected: Answers, source: str) -> Findings:
    """Part after part that was loaded; a `CheckError` names the one that was not, or whose scores are others."""
    if "failed" in loaded:
        raise CheckError(
            loaded["failed"],
            f"Got {loaded['error']} from {source}, in a fresh process without the package. It must load there. "
            f"{_ADVICE}\n{loaded['traceback']}",
        )
    for part, name in loaded["classes"].items():
        yield part, f"{name}, loaded without the package"
    difference = largest_difference(loaded["answers"], expected)
    if not difference <= TOLERANCE:
        raise CheckError(
            "scores",
            f"Got scores from {source} that differ from the original's by up to {difference:.2g}. Allowed are "
            f"{TOLERANCE:g}. The weights or the transform did not arrive as they are. {_ADVICE}",
        )
    yield "scores", f"those of the original, to {TOLERANCE:g}"


def ask_clean_process(order: Mapping[str, Any], *, offline: bool = True) -> dict[str, Any]:
    """The answer of `clean_process.py` to an order, with a fresh cache, and the user's token if online."""
    # Of the settings, a fresh user has none but where the Hub is; caches, modules and tokens are this user's own.
    kept, own = ("HF_ENDPOINT", "HF_HUB_DISABLE_XET"), ("HF_", "HUGGING", "TRANSFORMERS_")
    environment = {name: value for name, value in os.environ.items() if name in kept or not name.startswith(own)}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    if offline:
        environment["HF_HUB_OFFLINE"] = "1"
    elif token := get_token():
        environment["HF_TOKEN"] = token
    with tempfile.TemporaryDirectory() as home:
        try:
            done = subprocess.run(
                [sys.executable, str(Path(clean_process.__file__).resolve())],
                input=json.dumps(order),
                cwd=home,
                env={**environment, "HF_HOME": home},
                capture_output=True,
                text=True,
                timeout=LOADING_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CheckError(
                "process", f"Got no answer in {error.timeout:.0f} s from the process that was to load it. Try again."
            ) from error
    if done.returncode != 0:
        raise CheckError(
            "process",
            f"Got exit status {done.returncode} from the process that was to load it: "
            f"{' | '.join(done.stderr.strip().splitlines()[-5:])}. It must end with 0. Look whether memory suffices.",
        )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def largest_difference(answers: Answers, expected: Answers) -> float:
    """The largest difference of two scores of the same label; infinite where labels differ, NaN where a score is."""
    found, wanted = (
        {
            (row, task, one["label"]): one["score"]
            for row, tasks in enumerate(scored)
            for task in tasks
            for one in tasks[task]
        }
        for scored in (answers, expected)
    )
    if found.keys() != wanted.keys():
        return float("inf")
    return float(np.max([abs(found[key] - wanted[key]) for key in wanted]))
