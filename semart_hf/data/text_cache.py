"""What the frozen layers of the text tower make of descriptions: computed once, kept on disk, read in every epoch.

A cache is a folder of chunks. A chunk is one safetensors file of texts of about the same length: their hidden states
one after the other without padding, their digests, and how many tokens each has. Each appears whole, so that whatever
ends a process leaves whole chunks, and the next run goes on from there; several processes take every n-th chunk.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from semart_hf.files import atomic_file
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import TOKENS_MULTIPLE, SemArtProcessor
from semart_hf.model.techniques_semart import evaluation_mode

from .loading import return_freed_memory

STORAGE_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FORMAT = 3
# A chunk is what is lost when a process is killed, and what processes share: seconds to minutes of work.
CHUNK_BYTES = 32 << 20
# Tokens of a batch, padding included: enough for the matrix units, and few enough for any memory.
BATCH_TOKENS, BATCH_TOKENS_ON_CPU = 65_536, 4096
# The tokenizer holds what it cuts off, too: of a thousand long texts, as much as all the rest of a run.
_TEXTS_COUNTED_AT_ONCE = 128
# What a process has looked at of mapped files counts as its memory until it unmaps them: after so many bytes. The
# pages beside a text are mapped with it, so that it holds a multiple of them.
_MAPPED_BYTES = 16 * 2**20


def digest_of(text: str) -> int:
    """A number by which a text is found; of a million texts, two share one with a probability of 3e-8."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class FrozenText:
    """Hidden states of descriptions, mapped into memory chunk by chunk as they are asked for.

    What is pickled for a worker is the folder's name; each process maps the files itself.

    Args:
        folder: Of the chunks.
        depth: How many layers of the text tower the hidden states have passed.

    Raises:
        ValueError: If a chunk is damaged.
    """

    def __init__(self, folder: Path, depth: int) -> None:
        self.folder = folder
        self.depth = depth
        self._hidden: dict[int, Tensor] = {}
        self._bytes_read = 0
        self._paths = sorted(folder.glob("*.safetensors"))
        digests, places = [np.zeros(0, dtype=np.int64)], [np.zeros((0, 3), dtype=np.int64)]
        for number, path in enumerate(self._paths):
            with _opened(path) as file:
                digests.append(file.get_tensor("digests").numpy())
                lengths = file.get_tensor("lengths").numpy()
            starts = np.cumsum(lengths) - lengths
            places.append(np.stack([np.full_like(starts, number), starts, lengths], axis=1))
        order = np.argsort(np.concatenate(digests))
        self._digests, self._places = np.concatenate(digests)[order], np.concatenate(places)[order]

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenText, (self.folder, self.depth)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._digests)

    def knows(self, texts: Iterable[str | None]) -> bool:
        """Whether all the texts are here; those that are `None` need not be."""
        return all(self._row(text) is not None for text in texts if text is not None)

    def batch(self, texts: Sequence[str | None]) -> dict[str, Any]:
        """The model's inputs in the place of `input_ids`: `text_hidden (batch, tokens, dim)`, its mask and its depth.

        `has_text (batch,)` is given where some row has no text.

        Raises:
            KeyError: If a text is not here.
        """
        found = [None if text is None else self._hidden_states(text) for text in texts]
        present = [states for states in found if states is not None]
        longest = max(len(states) for states in present)
        # The pooled feature is one vector; hidden states are padded as the processor pads tokens.
        width = longest if longest == 1 else -(-longest // TOKENS_MULTIPLE) * TOKENS_MULTIPLE
        hidden = torch.zeros(len(texts), width, present[0].shape[1], dtype=present[0].dtype)
        mask = torch.zeros(len(texts), width, dtype=torch.long)
        for row, states in enumerate(found):
            if states is not None:
                hidden[row, : len(states)] = states
                mask[row, : len(states)] = 1
        self._bytes_read += hidden.nbytes
        if self._bytes_read > _MAPPED_BYTES:
            self._hidden.clear()
            self._bytes_read = 0
        inputs = {"text_hidden": hidden, "attention_mask": mask, "text_depth": self.depth}
        if len(present) < len(texts):
            inputs["has_text"] = torch.tensor([states is not None for states in found])
        return inputs

    def _hidden_states(self, text: str) -> Tensor:
        row = self._row(text)
        if row is None:
            raise KeyError(f"The text {text[:60]!r} is not in {self.folder}.")
        chunk, start, length = self._places[row].tolist()
        if chunk not in self._hidden:
            with _opened(self._paths[chunk]) as file:
                self._hidden[chunk] = file.get_tensor("hidden")  # mapped, not read
        return self._hidden[chunk][start : start + length]

    def _row(self, text: str) -> int | None:
        digest = digest_of(text)
        row = int(np.searchsorted(self._digests, digest))
        return row if row < len(self._digests) and self._digests[row] == digest else None


@dataclass(frozen=True)
class TextsToKeep:
    """The distinct texts of a data set, shortest first, and what keeping them costs.

    Args:
        column: Texts of all rows, on disk.
        places: Where in it each distinct text first stands.
        digests: Of each text.
        num_tokens: Of each text.
        depth: How many layers of the text tower are passed.
        is_pooled: Whether these are all, so that one vector is left of a text.
        dim: Size of a hidden state.
        storage: How it is stored: one of `STORAGE_TYPES`.
    """

    column: pa.ChunkedArray
    places: npt.NDArray[np.int64]
    digests: npt.NDArray[np.int64]
    num_tokens: npt.NDArray[np.int64]
    depth: int
    is_pooled: bool
    dim: int
    storage: str

    def texts(self, numbers: Iterable[int]) -> list[str]:
        """Some of the texts."""
        return [self.column[int(self.places[number])].as_py() for number in numbers]

    def lengths(self) -> npt.NDArray[np.int64]:
        """How many hidden states are kept of each text."""
        return np.ones_like(self.num_tokens) if self.is_pooled else self.num_tokens

    def num_bytes(self) -> int:
        """Disk space of all texts."""
        return int(self.lengths().sum()) * self.dim * STORAGE_TYPES[self.storage].itemsize

    def chunks(self, folder: Path) -> dict[Path, range]:
        """The texts of each chunk's file, cut alike in every process and after every restart."""
        per_chunk = max(1, CHUNK_BYTES // (self.dim * STORAGE_TYPES[self.storage].itemsize))
        numbers = (np.cumsum(self.lengths()) - 1) // per_chunk
        bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(self.places)]
        return {
            folder / f"{number:05d}.safetensors": range(start, stop)
            for number, (start, stop) in enumerate(pairwise(bounds))
            if start < stop
        }

    def are_in(self, folder: Path) -> bool:
        """Whether all chunks are written."""
        return all(path.is_file() for path in self.chunks(folder))


def texts_to_keep(
    model: SemArtForArtClassification, processor: SemArtProcessor, column: pa.ChunkedArray, *, depth: int, storage: str
) -> TextsToKeep:
    """The distinct texts among some, with the number of tokens of each.

    Args:
        model: Whose first `depth` layers are frozen, and its embeddings.
        processor: The model's.
        column: Texts of all rows that will be read; missing and blank ones count for nothing.
        depth: Layers that are passed.
        storage: One of `STORAGE_TYPES`.

    Raises:
        ValueError: If the storage type is unknown.
    """
    if storage not in STORAGE_TYPES:
        raise ValueError(
            f"Got the storage type {storage!r} for hidden states. Allowed are {list(STORAGE_TYPES)}. Choose one."
        )
    texts = (text for chunk in column.chunks for text in chunk.to_pylist())
    by_row = np.array([digest_of(text) if text and text.strip() else 0 for text in texts], dtype=np.int64)
    digests, places = np.unique(by_row, return_index=True)
    digests, places = digests[digests != 0], places[digests != 0]
    num_tokens = np.zeros(len(places), dtype=np.int64)
    for start in range(0, len(places), _TEXTS_COUNTED_AT_ONCE):
        some = slice(start, start + _TEXTS_COUNTED_AT_ONCE)
        num_tokens[some] = processor(text=[column[int(place)].as_py() for place in places[some]])[
            "attention_mask"
        ].sum(1)
    # The same order in every process and after every restart, whatever the order of the rows.
    order = np.lexsort((digests, num_tokens))
    config = model.config.text_config
    is_pooled = depth == config.n_layers
    return TextsToKeep(column, places[order], digests[order], num_tokens[order], depth, is_pooled, config.dim, storage)


def cache_folder(
    root: Path, model: SemArtForArtClassification, processor: SemArtProcessor, wanted: TextsToKeep, *, use_bf16: bool
) -> Path:
    """Where these hidden states lie: its name differs wherever the texts or a hidden state of them would differ."""
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
    key.update(wanted.digests.tobytes())
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
    device: torch.device | None = None,
    use_bf16: bool = False,
    show_progress: bool = False,
    process_index: int = 0,
    num_processes: int = 1,
) -> None:
    """Write this process's share of the chunks that are not in the folder yet.

    Args:
        model: The model of `texts_to_keep`.
        processor: The model's.
        wanted: What is asked for.
        folder: See `cache_folder`.
        device: That computes; `None`: the model's.
        use_bf16: Whether the hardware's bfloat16 units compute, if the storage is not fp32.
        show_progress: Whether a bar shows how many texts are done.
        process_index: Which process this is.
        num_processes: How many share the work.

    Raises:
        ValueError: If a hidden state does not fit into the storage type.
        OSError: If a file cannot be written.
    """
    share = islice(wanted.chunks(folder).items(), process_index, None, num_processes)
    missing = {path: numbers for path, numbers in share if not path.is_file()}
    if not missing:
        return
    home = model.device
    model.text_tower.to(device or home)
    total = sum(map(len, missing.values()))
    bar = tqdm(total=total, desc="frozen text", unit="text", disable=not show_progress)
    try:
        with evaluation_mode(model), bar:
            for path, numbers in missing.items():
                _write_chunk(path, wanted, numbers, _hidden_states(model, processor, wanted, numbers, bar, use_bf16))
                return_freed_memory()
    finally:
        model.text_tower.to(home)


def _hidden_states(
    model: SemArtForArtClassification,
    processor: SemArtProcessor,
    wanted: TextsToKeep,
    numbers: range,
    bar: "tqdm[Any]",
    use_bf16: bool,
) -> Tensor:
    """Hidden states of some texts one after the other `(tokens, dim)`, without padding."""
    device = next(model.text_tower.parameters()).device
    storage, lengths = STORAGE_TYPES[wanted.storage], wanted.lengths()
    # One tensor for all: many small ones would leave the memory in pieces that no later chunk fits in.
    found = torch.empty(int(lengths[numbers].sum()), wanted.dim, dtype=storage)
    end = 0
    for batch in _batches(numbers, wanted, BATCH_TOKENS_ON_CPU if device.type == "cpu" else BATCH_TOKENS):
        inputs = processor(text=wanted.texts(batch)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16 and wanted.storage != "fp32"):
            hidden = model.encode_frozen_text(inputs["input_ids"], inputs["attention_mask"], wanted.depth)
        start = end
        for states, length in zip(hidden.to(storage).cpu(), lengths[batch].tolist(), strict=True):
            found[end : end + length] = states[:length]
            end += length
        if not torch.isfinite(found[start:end]).all():
            raise ValueError(
                f"The frozen text layers gave values that cannot be stored as {wanted.storage}. Allowed are finite "
                "numbers. Set text_cache_dtype: bf16, or cache_frozen_text: false."
            )
        bar.update(len(batch))
    return found


def _batches(numbers: Iterable[int], wanted: TextsToKeep, most_tokens: int) -> Iterator[list[int]]:
    """Texts that are padded to one width, as many as fit.

    So there are few shapes, whatever the number of texts: of each that it meets, the matrix library keeps a megabyte.
    """
    for width, texts in groupby(numbers, key=lambda number: -(-int(wanted.num_tokens[number]) // TOKENS_MULTIPLE)):
        while batch := list(islice(texts, max(1, most_tokens // (TOKENS_MULTIPLE * width)))):
            yield batch


def _write_chunk(path: Path, wanted: TextsToKeep, numbers: range, hidden: Tensor) -> None:
    tensors = {
        "hidden": hidden,
        "lengths": torch.from_numpy(wanted.lengths()[numbers]),
        "digests": torch.from_numpy(wanted.digests[numbers]),
    }
    try:
        with atomic_file(path) as unfinished:
            save_file(tensors, unfinished)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"The file {path} of the cache of frozen text is damaged ({error}). Allowed are files as they were "
            "written. Delete it: it is computed again."
        ) from error
