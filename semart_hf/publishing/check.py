"""Nothing is published that does not load elsewhere: the folder is checked part by part before it is sent."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import HfApi, get_token
from PIL import Image

from semart_hf.documents.model_card import EXAMPLE_TEXT
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import ArtClassificationPipeline
from semart_hf.model.processing_semart import SemArtProcessor

from .pushing import HUB_FILE, list_files

TOLERANCE = 1e-5
LOADING_TIMEOUT = 900  # seconds, for reading large weights from a slow disk
_ADVICE = "Run `semart-hf push` again on the folder that the training wrote."
# Folders below which people keep their things, named from the root.
_PRIVATE_FOLDER = re.compile(
    rb"(?<![\w.:/-])(?:/(?:home|Users|root|tmp|mnt|private|scratch)/[\w.@+-]+|[A-Za-z]:\\{1,2}Users\\{1,2}[\w.@+-]+)"
)
_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{16,}")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy")

Answers = list[dict[str, list[dict[str, Any]]]]
Findings = Iterator[tuple[str, str]]


class CheckError(ValueError):
    """A repository that must not be used, because of a part such as `weights`, `model` or `scores`."""

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(f"The repository must not be used because of its {part}. {problem}")


def check_repository(folder: Path, model: SemArtForArtClassification, processor: SemArtProcessor) -> Findings:
    """Part after part of an assembled repository with what was found; scores are to equal those of the model."""
    yield "private content", check_private_content(folder, model.name_or_path)
    yield "weights", check_weights(model)
    yield from check_loading(str(folder.resolve()), model, processor)  # the clean process works in another folder


def check_published(
    folder: Path, repo_id: str, revision: str, model: SemArtForArtClassification, processor: SemArtProcessor
) -> Findings:
    """Part after part of what is on the Hub: its files, and what they load as at the revision in a fresh cache."""
    found = HfApi().verify_repo_checksums(repo_id, revision=revision, local_dir=folder)
    names = {mismatch["path"] for mismatch in found.mismatches} | {*found.missing_paths}
    if wrong := sorted(names - {HUB_FILE} | (list_files(folder).keys() & {*found.extra_paths})):
        raise CheckError("files", f"Got {wrong} with other content than in {folder}. Push again.")
    yield "files", "on the Hub as in the folder, by their hashes"
    yield from check_loading(repo_id, model, processor, revision)


def check_loading(
    source: str, model: SemArtForArtClassification, processor: SemArtProcessor, revision: str | None = None
) -> Findings:
    """Part after part that a clean process loads of a folder, or of a repository on the Hub at a revision."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "painting.png")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 240, 3), dtype=np.uint8)).save(path)
        paintings = [{"image": path, "text": EXAMPLE_TEXT}, {"image": path}, {"text": EXAMPLE_TEXT}]
        classify = ArtClassificationPipeline(model=model, processor=processor, device="cpu", precision="fp32")
        expected = classify(paintings, top_k=None)
        loaded = ask_clean_process({"source": source, "revision": revision, "paintings": paintings})
    yield from compare(loaded, expected, f"{source} at {revision}" if revision else source)


def check_private_content(folder: Path, source: str = "") -> str:
    """That no file names this machine or holds a secret or a pickle; a `CheckError` if one does."""
    if found := find_private_content(folder, source):
        advice = "Remove what is named from the file that it came from (results.json, recipe.yaml, the card)."
        raise CheckError("private content", f"Got {len(found)}: {'; '.join(found[:5])}. None is allowed. {advice}")
    return "no path or name of this machine, no token, no pickle"


def check_weights(model: SemArtForArtClassification) -> str:
    """How many tensors there are, all of finite numbers; a `CheckError` if one is not."""
    weights = model.state_dict()
    if broken := [name for name, values in weights.items() if not (values.is_meta or torch.isfinite(values).all())]:
        advice = "The training diverged: lower its learning rate, and publish an earlier checkpoint meanwhile."
        raise CheckError("weights", f"Got NaN or infinity in {', '.join(broken[:3])}. Allowed are numbers. {advice}")
    return f"{len(weights):,} tensors of {sum(values.numel() for values in weights.values()):,} numbers, all finite"


def check_dataset(folder: Path) -> Findings:
    """Part after part of a prepared dataset's folder; a `CheckError` without card or data, or with private content."""
    shards = sorted(folder.glob("data/*.parquet"))
    if not (folder / "README.md").is_file() or not shards:
        absent = "README.md" if shards else "data/*.parquet"
        raise CheckError("files", f"Got {folder} without {absent}. Allowed is what `semart-hf prepare` wrote.")
    yield "files", f"{len(shards)} files of data, and a card"
    yield "private content", check_private_content(folder)


def compare(loaded: Mapping[str, Any], expected: Answers, source: str) -> Findings:
    """Part after part that was loaded; a `CheckError` names the one that was not, or whose scores are others."""
    if "failed" in loaded:
        problem = f"Got {loaded['error']} from {source}, in a fresh process without the package."
        raise CheckError(loaded["failed"], f"{problem} {_ADVICE}\n{loaded['traceback']}")
    for part, name in loaded["classes"].items():
        yield part, f"{name}, loaded without the package"
    difference = largest_difference(loaded["answers"], expected)
    if not difference <= TOLERANCE:
        problem = f"Got scores from {source} that differ from the original's by up to {difference:.2g}."
        raise CheckError("scores", f"{problem} Allowed are {TOLERANCE:g}. {_ADVICE}")
    yield "scores", f"those of the original, to {TOLERANCE:g}"


def ask_clean_process(order: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `clean_process.py` to an order, with a fresh cache, and the user's token for a revision online."""
    # Of the settings, a fresh user has none but where the Hub is; caches, modules and tokens are this user's own.
    kept, own = ("HF_ENDPOINT", "HF_HUB_DISABLE_XET"), ("HF_", "HUGGING", "TRANSFORMERS_")
    environment = {name: value for name, value in os.environ.items() if name in kept or not name.startswith(own)}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    if order.get("revision") is None:
        environment["HF_HUB_OFFLINE"] = "1"
    elif token := get_token():
        environment["HF_TOKEN"] = token
    with tempfile.TemporaryDirectory() as home:
        environment["HF_HOME"] = home
        options: dict[str, Any] = {"cwd": home, "env": environment, "timeout": LOADING_TIMEOUT, "text": True}
        command = [sys.executable, str(Path(__file__).resolve().with_name("clean_process.py"))]
        try:
            done = subprocess.run(command, input=json.dumps(order), capture_output=True, check=False, **options)
        except subprocess.TimeoutExpired as error:
            problem = f"Got no answer in {error.timeout:.0f} s from the process that was to load it. Try again."
            raise CheckError("process", problem) from error
    if done.returncode != 0:
        last = " | ".join(done.stderr.strip().splitlines()[-5:])
        problem = f"Got exit status {done.returncode} from the process that was to load it: {last}"
        raise CheckError("process", f"{problem}. It must end with 0. Look whether memory suffices.")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def largest_difference(answers: Answers, expected: Answers) -> float:
    """The largest difference of two scores of the same label; infinite where labels differ, NaN where a score is."""
    found, wanted = map(_score_by_label, (answers, expected))
    if found.keys() != wanted.keys():
        return float("inf")
    return float(np.max([abs(found[key] - wanted[key]) for key in wanted]))


def _score_by_label(answers: Answers) -> dict[tuple[int, str, str], float]:
    return {
        (row, task, one["label"]): one["score"]
        for row, answer in enumerate(answers)
        for task, ranked in answer.items()
        for one in ranked
    }


def find_private_content(folder: Path, source: str = "") -> list[str]:
    """A sentence for each secret, pickle, path or name of this machine or of the `source` in a folder's files."""
    home, others = Path.home().resolve(), (Path.cwd(), Path(source).resolve())
    # `/` and `/app` are everybody's.
    private = {home} - {Path("/")} | {path for path in others if len(path.parts) > 2}
    words = {str(path): "a folder of this machine" for path in private}
    host = socket.gethostname()
    if not host.isalpha() and len(host) > 3:  # a name of letters only may be an ordinary word
        words[host] = "the name of this machine"
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in _PICKLES:
            found.append(f"{name} is a pickle, which runs whatever code its maker put into it")
        elif path.suffix != ".parquet":  # compressed columns: no search of their bytes finds what they hold
            found += [f"{name} holds {problem}" for problem in _problems(path, words)]
    return found


def _problems(path: Path, words: dict[str, str]) -> Iterator[str]:
    with path.open("rb") as file:
        length = path.stat().st_size
        if path.suffix == ".safetensors":  # its header alone, of whose length a damaged file may say anything
            length = min(int.from_bytes(file.read(8), "little"), length)
        content = file.read(length)
    for word, description in words.items():
        if re.search(rb"(?<![\w.-])" + re.escape(word.encode()) + rb"(?![\w-])", content):
            yield f"{description}, {word!r}"
    if match := _PRIVATE_FOLDER.search(content):
        yield f"a path that exists on one machine only, {match[0].decode()!r}"
    # A secret is not repeated on the screen.
    if (token := get_token()) and token.encode() in content:
        yield "your Hugging Face token"
    elif _TOKEN.search(content):
        yield "what looks like a Hugging Face token"
