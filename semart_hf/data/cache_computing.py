"""The work behind `cache`: hidden states of distinct texts, computed chunk by chunk.

A chunk is written under another name and then renamed, so that whatever ends a process leaves whole chunks behind and
the next run goes on from there. Several processes share the work: each takes a chunk that nobody holds the lock of.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import TOKENS_MULTIPLE, SemArtProcessor

from .cache import FrozenText
from .freed_memory import return_freed_memory
from .stored_texts import StoredTexts

STORAGE_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FORMAT = 1
# A chunk is what is lost when a process is killed, and what two processes can share: seconds to minutes of work.
CHUNK_BYTES = 32 << 20
# Tokens of a batch, padding included: enough for the matrix units, and few enough for any memory.
BATCH_TOKENS = {"cpu": 4096}
BATCH_TOKENS_ELSEWHERE = 65_536
# The tokenizer holds what it cuts off, too: of a thousand long texts, as much as all the rest of a run.
_TEXTS_COUNTED_AT_ONCE = 128


@dataclass(frozen=True)
class TextsToKeep:
    """The distinct texts of a data set, shortest first, and what keeping them costs.

    Args:
        texts: Without repetition, on disk.
        num_tokens: Of each.
        depth: How many layers of the text tower are passed.
        is_pooled: Whether these are all, so that one vector is left of a text.
        dim: Size of a hidden state.
        storage: How it is stored: one of `STORAGE_TYPES`.
    """

    texts: StoredTexts
    num_tokens: npt.NDArray[np.int64]
    depth: int
    is_pooled: bool
    dim: int
    storage: str

    def num_bytes(self, places: Sequence[int] | slice = slice(None)) -> int:
        """Disk space of some of the texts, or all."""
        kept = self.num_tokens[places]
        return (len(kept) if self.is_pooled else int(kept.sum())) * self.dim * STORAGE_TYPES[self.storage].itemsize


def texts_to_keep(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    texts: Iterable[str | None],
    *,
    depth: int,
    storage: str,
) -> TextsToKeep:
    """The distinct texts among some, with the number of tokens of each.

    Args:
        model: Whose first `depth` layers are frozen, and its embeddings.
        processor: The model's.
        texts: Of all rows that will be read; blank ones count for nothing.
        depth: Layers that are passed.
        storage: One of `STORAGE_TYPES`.

    Raises:
        ValueError: If the storage type is unknown.
    """
    if storage not in STORAGE_TYPES:
        raise ValueError(
            f"Got the storage type {storage!r} for hidden states. Allowed are {list(STORAGE_TYPES)}. Choose one."
        )
    distinct = StoredTexts(texts)
    num_tokens = np.zeros(len(distinct), dtype=np.int64)
    for start in range(0, len(distinct), _TEXTS_COUNTED_AT_ONCE):
        some = slice(start, start + _TEXTS_COUNTED_AT_ONCE)
        num_tokens[some] = processor(text=distinct[some])["attention_mask"].sum(1).numpy()
    # The same order in every process and after every restart, whatever the order of the rows.
    order = np.lexsort((np.array(distinct.digests, dtype=object), num_tokens))
    config = model.config.text_config
    return TextsToKeep(
        distinct.in_order(order), num_tokens[order], depth, depth == config.n_layers, config.dim, storage
    )


def cache_folder(
    root: Path, model: SemArtForArtClassification, processor: SemArtProcessor, wanted: TextsToKeep, *, use_bf16: bool
) -> Path:
    """Where these hidden states lie: its name differs wherever the hidden states of a text would differ."""
    config, tower = model.config.text_config, model.text_tower
    tokenizer = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    settings = {
        "format": FORMAT,
        "depth": wanted.depth,
        "pooling": model.config.text_pooling if wanted.is_pooled else None,
        "storage": wanted.storage,
        "computed": "bf16" if use_bf16 and wanted.storage != "fp32" else str(model.dtype),
        "heads": config.n_heads,
        "activation": config.activation,
        "max_length": processor.tokenizer.model_max_length,
        # What the last call left behind is no part of the tokenizer.
        "tokenizer": {name: part for name, part in tokenizer.items() if name not in ("padding", "truncation")},
    }
    key = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for module in (tower.embeddings, *list(tower.transformer.layer)[: wanted.depth]):
        for tensor in module.state_dict().values():
            key.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return root / key.hexdigest()


def compute_frozen_text(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    wanted: TextsToKeep,
    folder: Path,
    *,
    device: torch.device | str | None = None,
    use_bf16: bool = False,
    show_progress: bool = False,
) -> FrozenText:
    """The texts' hidden states, computed where they are not in the folder yet.

    Args:
        model: The model of `texts_to_keep`.
        processor: The model's.
        wanted: What is asked for.
        folder: See `cache_folder`.
        device: That computes; `None`: the model's.
        use_bf16: Whether the hardware's bfloat16 units compute, if the storage is not fp32.
        show_progress: Whether a bar shows how many texts are done.

    Raises:
        ValueError: If a hidden state does not fit into the storage type, or a file of the cache is damaged.
        OSError: If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = FrozenText(folder, wanted.depth)
    digests = wanted.texts.digests
    if kept.knows_digests(digests):
        return kept
    # Chunks are cut alike in every process and after every restart: by what is wanted, not by what is there already.
    plan = hashlib.blake2b(b"".join(digests), digest_size=8).hexdigest()
    elsewhere = kept.digests(except_from=plan)
    missing = [place for place, digest in enumerate(digests) if digest not in elsewhere]
    home, was_training = model.device, model.training
    model.text_tower.to(torch.device(device or home))
    model.eval()
    try:
        with tqdm(total=len(missing), desc="frozen text", unit="text", disable=not show_progress) as bar:
            for path, places in _taken_in_turn(folder, plan, _chunks(missing, wanted), digests, bar):
                hidden, lengths = _hidden_states(model, processor, wanted, places, bar, use_bf16=use_bf16)
                _write_chunk(path, [digests[place] for place in places], hidden, lengths)
                del hidden
                return_freed_memory()
    finally:
        model.text_tower.to(home)
        model.train(was_training)
    return FrozenText(folder, wanted.depth)


def _chunks(missing: Sequence[int], wanted: TextsToKeep) -> Iterator[list[int]]:
    chunk: list[int] = []
    num_bytes = 0
    for place in missing:
        size = wanted.num_bytes([place])
        if chunk and num_bytes + size > CHUNK_BYTES:
            yield chunk
            chunk, num_bytes = [], 0
        chunk.append(place)
        num_bytes += size
    if chunk:
        yield chunk


def _taken_in_turn(
    folder: Path, plan: str, chunks: Iterable[list[int]], digests: Sequence[bytes], bar: "tqdm[Any]"
) -> Iterator[tuple[Path, list[int]]]:
    """The chunks that nobody else has computed, each while this process holds its lock; at last all are there."""
    waiting = []
    for places in chunks:
        content = hashlib.blake2b(b"".join(digests[place] for place in places), digest_size=8).hexdigest()
        waiting.append((folder / f"{plan}-{content}.safetensors", places))
    for timeout in (0, -1):  # first what is free; then wait for what others hold, and do it if they died
        held = []
        for path, places in waiting:
            try:
                with filelock.FileLock(path.with_suffix(".lock"), timeout=timeout):
                    if path.is_file():
                        bar.update(len(places))
                    else:
                        yield path, places
            except filelock.Timeout:
                held.append((path, places))
        waiting = held


def _hidden_states(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    wanted: TextsToKeep,
    places: Sequence[int],
    bar: "tqdm[Any]",
    *,
    use_bf16: bool,
) -> tuple[Tensor, list[int]]:
    """Hidden states of some texts one after the other `(tokens, dim)`, without padding, and how many each has."""
    device = next(model.text_tower.parameters()).device
    storage = STORAGE_TYPES[wanted.storage]
    lengths = [1] * len(places) if wanted.is_pooled else wanted.num_tokens[places].tolist()
    # One tensor for all: many small ones would leave the memory in pieces that no later chunk fits in.
    found = torch.empty(sum(lengths), wanted.dim, dtype=storage)
    end, done = 0, 0
    for batch in _batches(places, wanted, BATCH_TOKENS.get(device.type, BATCH_TOKENS_ELSEWHERE)):
        inputs = processor(text=[wanted.texts[place] for place in batch]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16 and wanted.storage != "fp32"):
            hidden = model.encode_frozen_text(inputs["input_ids"], inputs["attention_mask"], wanted.depth)
        hidden = hidden.to(storage).cpu()
        start = end
        for states, length in zip(hidden, lengths[done : done + len(batch)], strict=True):
            found[end : end + length] = states[:length]
            end += length
        done += len(batch)
        if not torch.isfinite(found[start:end]).all():
            raise ValueError(
                f"The frozen text layers gave values that cannot be stored as {wanted.storage}. Allowed are finite "
                "numbers. Set text_cache_dtype: bf16, or cache_frozen_text: false."
            )
        bar.update(len(batch))
    return found, lengths


def _batches(places: Sequence[int], wanted: TextsToKeep, most_tokens: int) -> Iterator[list[int]]:
    """Texts that are padded to one width, as many as fit.

    So there are few shapes, whatever the number of texts: of each that it meets, the matrix library keeps a megabyte.
    """
    for width, texts in groupby(places, key=lambda place: -(-int(wanted.num_tokens[place]) // TOKENS_MULTIPLE)):
        while batch := list(islice(texts, max(1, most_tokens // (TOKENS_MULTIPLE * width)))):
            yield batch


def _write_chunk(path: Path, digests: Sequence[bytes], hidden: Tensor, lengths: Sequence[int]) -> None:
    for stale in path.parent.glob(f".{path.stem}-*.tmp"):  # of a process that was killed: this one holds the lock
        stale.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.tmp")
    tensors = {
        "hidden": hidden,
        "lengths": torch.tensor(lengths),
        "digests": torch.from_numpy(np.frombuffer(b"".join(digests), dtype=np.int64).reshape(-1, 2).copy()),
    }
    try:
        save_file(tensors, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (SafetensorError, OSError) as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"{path} cannot be written: {error}") from error
