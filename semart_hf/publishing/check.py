"""Nothing is published that does not load elsewhere: the folder is checked part by part before it is sent."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import DatasetCard, ModelCard
from PIL import Image
from safetensors import SafetensorError, safe_open

from semart_hf.documents.model_card import REQUIRED_METADATA, file_url, read_example
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import ArtClassificationPipeline
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.publishing import clean_process

from .private_content import find_private_content
from .upload import Destination, differing_files

TOLERANCE = 1e-5
LOADING_TIMEOUT = 900  # seconds, for reading large weights from a slow disk
_ADVICE = "Run `semart-hf push` again on the folder that the training or `write_repository` wrote."

Answers = list[dict[str, list[dict[str, Any]]]]


class CheckError(ValueError):
    """A repository that must not be published.

    Args:
        part: What is wrong: `files` on the Hub, `private content`, `weights`, `card`, `config`, `model`, `tokenizer`,
            `image processor`, `processor`, `pipeline`, `scores`, `example of the card`, or the `process` that loads.
        problem: Got, allowed, to do.
        is_published: Whether it was sent already.
    """

    def __init__(self, part: str, problem: str, *, is_published: bool = False) -> None:
        state = "is on the Hub, but must not be used," if is_published else "was not published,"
        super().__init__(f"The repository {state} because of its {part}. {problem}")
        self.part, self.problem = part, problem


def check_repository(
    folder: Path,
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    repo_id: str,
    *,
    machine_folders: Iterable[Path] = (),
) -> Iterator[tuple[str, str]]:
    """Part after part with what was found of it, as it is checked.

    Args:
        folder: The assembled repository.
        model: The original, whose scores the repository's must equal.
        processor: The original's.
        repo_id: What it will be called; the card's example names it.
        machine_folders: Folders whose path must not be in any file.

    Raises:
        CheckError: At the first part that is not whole.
    """
    yield "private content", check_private_content(folder, machine_folders)
    yield "weights", check_weights(folder)
    yield "card", check_card(folder / "README.md")
    with tempfile.TemporaryDirectory() as made:
        paintings = make_paintings(Path(made))
        expected = score_paintings(model, processor, paintings)
        place = folder.resolve()  # the clean process works in a folder of its own
        code, printed = read_example((folder / "README.md").read_text(encoding="utf-8")) or (None, None)
        if code is not None:
            code = code.replace(file_url(repo_id, ""), f"{place}/").replace(f'"{repo_id}"', repr(str(place)))
        loaded = ask_clean_process({"source": str(place), "paintings": paintings, "code": code})
    yield from compare(loaded, expected, str(folder))
    if printed is not None:
        if loaded["printed"].strip() != printed.strip():
            raise CheckError(
                "example of the card",
                f"Got the output\n{loaded['printed'].strip()}\nwhere the card shows\n{printed.strip()}\nBoth must be "
                "equal. Render the card again.",
            )
        yield "example", "prints what the card shows"


def check_published(
    folder: Path,
    repo_id: str,
    revision: str,
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    *,
    token: str | None = None,
) -> Iterator[tuple[str, str]]:
    """Part after part of what is on the Hub: its files, and what they load as at the revision in a fresh cache.

    Raises:
        CheckError: If a file is not the folder's, a part does not load, or it answers otherwise than the original.
    """
    if wrong := differing_files(folder, Destination(repo_id, token=token), revision):
        problem = f"Got {wrong} with other content than in {folder}. All files must be equal. Push again."
        raise CheckError("files", problem, is_published=True)
    yield "files", "on the Hub as in the folder, by their hashes"
    with tempfile.TemporaryDirectory() as made:
        paintings = make_paintings(Path(made))
        expected = score_paintings(model, processor, paintings)
        order = {"source": repo_id, "revision": revision, "paintings": paintings}
        loaded = ask_clean_process(order, token=token, offline=False)
    try:
        yield from compare(loaded, expected, f"{repo_id} at {revision}")
    except CheckError as error:
        raise CheckError(error.part, error.problem, is_published=True) from error


def check_private_content(folder: Path, machine_folders: Iterable[Path] = ()) -> str:
    """That no file names this machine or holds a secret or a pickle.

    Raises:
        CheckError: If one does.
    """
    found = find_private_content(folder, machine_folders)
    if found:
        raise CheckError(
            "private content",
            f"Got {len(found)}: {'; '.join(found[:5])}. Allowed are files without paths and names of the machine that "
            "made them. Remove what is named from the file that it came from (results.json, recipe.yaml, the card).",
        )
    return "no path or name of this machine, no token, no pickle"


def check_weights(folder: Path) -> str:
    """How many tensors there are, all of finite numbers.

    Raises:
        CheckError: If a file is damaged, or a value is NaN or infinite.
    """
    count, size = 0, 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                    tensor = file.get_tensor(name)
                    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                        raise CheckError(
                            "weights",
                            f"Got NaN or infinity in {name!r} of {path.name}. Allowed are numbers. The training "
                            "diverged: lower its learning rate, and publish an earlier checkpoint meanwhile.",
                        )
                    count, size = count + 1, size + tensor.numel()
        except SafetensorError as error:
            raise CheckError("weights", f"Got {path.name}, which cannot be read: {error}. {_ADVICE}") from error
    return f"{count:,} tensors of {size:,} numbers, all finite"


def check_card(path: Path) -> str:
    """How many entries the card's metadata has, all of them whole.

    The Hub has a check of its own, which needs the network: it is asked at the push.

    Raises:
        CheckError: If the metadata cannot be read, lack an entry, or change when written again.
    """
    try:
        card = ModelCard(path.read_text(encoding="utf-8"))
        again = ModelCard(str(card))
    except ValueError as error:
        raise CheckError("card", f"Got metadata that cannot be read: {error}. Correct the head of {path}.") from error
    metadata = card.data.to_dict()
    missing = [name for name in REQUIRED_METADATA if not metadata.get(name)]
    if missing or again.data.to_dict() != metadata:
        raise CheckError(
            "card",
            f"Got metadata {'without ' + ', '.join(missing) if missing else 'that change when written again'}. "
            f"Needed are {', '.join(REQUIRED_METADATA)}, as ModelCardData writes them. Render the card again.",
        )
    metrics = [result.metric_name for result in card.data.get("eval_results") or []]
    if doubled := sorted({str(name) for name in metrics if name is None or metrics.count(name) > 1}):
        raise CheckError(
            "card", f"Got the metrics {doubled} without a name of their own in model-index. Give each result a name."
        )
    return f"{len(metadata)} entries, {len(metrics)} results in model-index"


def make_paintings(folder: Path) -> list[dict[str, str]]:
    """A picture with a text, the picture alone, and the text alone: the pictures' files lie in the folder."""
    path = folder / "painting.png"
    rows, columns = np.mgrid[0:300, 0:240]
    waves = [128 + 90 * np.sin(rows / (17 + 9 * channel) + columns / (31 - 7 * channel)) for channel in range(3)]
    Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8)).save(path)
    text = "A view of a town across the river, with boats in the evening light"
    return [{"image": str(path), "text": text}, {"image": str(path)}, {"text": text}]


def score_paintings(
    model: SemArtForArtClassification, processor: SemArtProcessor, paintings: Sequence[Mapping[str, str]]
) -> Answers:
    """The model's own answers to the paintings, all labels with their scores."""
    device = None if getattr(model, "hf_device_map", None) else "cpu"
    classify = ArtClassificationPipeline(model=model, processor=processor, device=device, precision="fp32")
    return list(classify(list(paintings), top_k=None))


def compare(loaded: Mapping[str, Any], expected: Answers, source: str) -> Iterator[tuple[str, str]]:
    """Part after part that the clean process loaded, and whether the scores are those of the original.

    Raises:
        CheckError: Naming the part that did not load, or answered otherwise.
    """
    if "failed" in loaded:
        raise CheckError(
            loaded["failed"],
            f"Got {loaded['error']} from {source}, in a fresh process without the package. It must load there. "
            f"{_ADVICE}\n{loaded['traceback']}",
        )
    for part, name in loaded["classes"].items():
        yield part, f"{name.rpartition('.')[2]}, loaded without the package"
    difference = largest_difference(loaded["answers"], expected)
    if not difference <= TOLERANCE:
        raise CheckError(
            "scores",
            f"Got scores from {source} that differ from the original's by up to {difference:.2g}. Allowed are "
            f"{TOLERANCE:g}. The weights or the transform did not arrive as they are. {_ADVICE}",
        )
    yield "scores", f"those of the original, to {TOLERANCE:g}"


def ask_clean_process(order: Mapping[str, Any], *, token: str | None = None, offline: bool = True) -> dict[str, Any]:
    """The answer of `clean_process.py` to an order, in a process with a fresh cache.

    Args:
        order: What `clean_process.load_parts` takes.
        token: For a private repository.
        offline: Whether the network is closed to that process.

    Raises:
        CheckError: If the process ended without an answer.
    """
    # Of the settings, a fresh user has none but where the Hub is; caches, modules and tokens are this user's own.
    kept = ("HF_ENDPOINT", "HF_HUB_DISABLE_XET")
    own = ("HF_", "HUGGING", "TRANSFORMERS_")
    variables = {name: value for name, value in os.environ.items() if name in kept or not name.startswith(own)}
    with tempfile.TemporaryDirectory() as home:
        environment = variables | {"HF_HOME": home, "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
        environment |= {"HF_TOKEN": token} if token else {}
        try:
            done = subprocess.run(
                [sys.executable, str(Path(clean_process.__file__).resolve())],
                input=json.dumps(dict(order)),
                cwd=home,
                env=environment,
                capture_output=True,
                text=True,
                timeout=LOADING_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CheckError(
                "process", f"Got no answer in {error.timeout:.0f} s from the process that was to load it. Try again."
            ) from error
    if done.returncode != 0 or not done.stdout.strip():
        last = done.stderr.strip().splitlines()[-5:]
        raise CheckError(
            "process",
            f"Got exit status {done.returncode} from the process that was to load it: {' | '.join(last)}. It must end "
            "with 0. Look whether transformers, timm and torch can be imported here, and whether memory suffices.",
        )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def largest_difference(answers: Answers, expected: Answers) -> float:
    """The largest difference of two scores of the same label; infinite where labels differ, NaN where a score is."""

    def scores(rows: Answers) -> dict[tuple[int, str, str], float]:
        return {
            (row, task, entry["label"]): entry["score"]
            for row, answer in enumerate(rows)
            for task, ranked in answer.items()
            for entry in ranked
        }

    found, wanted = scores(answers), scores(expected)
    if found.keys() != wanted.keys():
        return float("inf")
    return float(np.max([abs(found[key] - wanted[key]) for key in wanted], initial=0.0))


def check_dataset(folder: Path) -> Iterator[tuple[str, str]]:
    """Part after part of a prepared dataset's folder.

    Raises:
        CheckError: If it has no card or no data, or private content.
    """
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
    missing = [name for name in ("license", "configs") if not card.data.get(name)]
    if missing:
        raise CheckError(
            "card", f"Got metadata without {missing}; the Hub needs them. Prepare the data again, for a new card."
        )
    yield "card", f"{len(card.data)} entries"
