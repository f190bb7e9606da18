"""What training makes of texts beforehand: frozen layers' hidden states, a tokenizer, a lexicon's frequencies.

The cache of hidden states is a folder of safetensors files, each with those of some texts by the texts' digests. Each
appears whole: a run goes on where another was killed, and of several processes each writes its share.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from tqdm.auto import tqdm
from transformers import DistilBertTokenizer, TrainingArguments

from semart_hf.catalogue.tables import PIECE_ROWS, stored_rows
from semart_hf.files import atomic_file
from semart_hf.memory import freed_memory_kept, return_freed_memory
from semart_hf.model.linear_semart import Lexicon
from semart_hf.model.processing_semart import TOKENS_MULTIPLE, SemArtProcessor
from semart_hf.model.techniques_semart import evaluation_mode
from semart_hf.model.towers_semart import computed_with, frozen_layers, text_layers

from .data_arguments import DataArguments
from .streaming import PaintingStream, column_of

#: The special tokens in the order of their numbers; padding is 0, as DistilBERT's configuration expects.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
STORAGE_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FORMAT = 5
# A file is what is lost when a process is killed, and what processes share.
FILE_BYTES = 32 << 20
# Tokens of a batch, padding included: enough for the matrix units, and few enough for any memory.
BATCH_TOKENS, BATCH_TOKENS_ON_CPU = 65_536, 4096
# The tokenizer holds what it cuts off, too: of a thousand long texts, as much as all the rest of a run.
_TEXTS_AT_ONCE = 128
# What was read of mapped files counts as a process's memory until it unmaps them: after so many bytes.
_MAPPED_BYTES = 16 << 20
# Space that is left on the disk for checkpoints and everybody else.
RESERVED_BYTES = 2 << 30


def digest_of(text: str) -> str:
    """The name by which a text is found; of a million texts, two share one with a probability of 3e-8."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class FrozenText:
    """Hidden states of texts after `depth` layers, mapped into memory as they are asked for; pickled as the folder."""

    def __init__(self, folder: Path, depth: int) -> None:
        self.folder, self.depth = folder, depth
        self._paths = {name: path for path in folder.glob("*.safetensors") for name in _opened(path).keys()}  # noqa: SIM118
        self._files: dict[Path, Any] = {}
        self._bytes_read = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenText, (self.folder, self.depth)

    def batch(self, texts: Sequence[str | None]) -> dict[str, Any] | None:
        """`text_hidden (batch, tokens, dim)`, its mask, depth and `has_text (batch,)`; `None` if one is not here."""
        names = [None if text is None else digest_of(text) for text in texts]
        if not {*names} - {None} <= self._paths.keys():
            return None
        for path in {self._paths[name] for name in names if name is not None} - self._files.keys():
            self._files[path] = _opened(path)  # mapped, not read
        found = [None if name is None else self._files[self._paths[name]].get_tensor(name) for name in names]
        lengths = torch.tensor([0 if states is None else len(states) for states in found])
        first = next(states for states in found if states is not None)
        # The pooled feature is one vector; hidden states are padded as the processor pads tokens.
        longest = int(lengths.max())
        width = longest if longest == 1 else -(-longest // TOKENS_MULTIPLE) * TOKENS_MULTIPLE
        hidden = torch.zeros(len(texts), width, first.shape[1], dtype=first.dtype)
        for row, states in zip(hidden, found, strict=True):
            if states is not None:
                row[: len(states)] = states
        self._bytes_read += hidden.nbytes
        if self._bytes_read > _MAPPED_BYTES:
            self._files.clear()
            self._bytes_read = 0
        mask = (torch.arange(width) < lengths[:, None]).long()
        inputs = {"text_hidden": hidden, "attention_mask": mask, "text_depth": self.depth}
        if not lengths.all():
            inputs["has_text"] = lengths > 0
        return inputs


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"The file {path} of the cache of frozen text is damaged ({error}). Delete it: it is computed again."
        ) from error


class FrozenTextWriter:
    """The distinct texts of a column, shortest first, and the files of their hidden states, by what made them."""

    def __init__(
        self, root: Path, model: Any, processor: Any, column: Any, *, depth: int, storage: str, use_bf16: bool
    ) -> None:
        self.model, self.processor, self.column, self.depth, self.storage = model, processor, column, depth, storage
        self.use_bf16 = use_bf16 and storage != "fp32"
        texts = (text for chunk in column.chunks for text in chunk.to_pylist())
        by_row = np.array([digest_of(text) if text and text.strip() else "" for text in texts], dtype="S16")
        names, places = np.unique(by_row, return_index=True)
        self.names, self.places = names[names != b""], places[names != b""]
        self.num_tokens = np.zeros(len(self.places), dtype=np.int64)
        for start in range(0, len(self.places), _TEXTS_AT_ONCE):
            some = range(start, min(start + _TEXTS_AT_ONCE, len(self.places)))
            self.num_tokens[some] = processor(text=self._texts(some))["attention_mask"].sum(1)
        # The same order in every process and after every restart, whatever the order of the rows.
        order = np.lexsort((self.names, self.num_tokens))
        self.names, self.places, self.num_tokens = self.names[order], self.places[order], self.num_tokens[order]
        self.is_pooled = depth == model.config.text_config.num_hidden_layers
        self.lengths = np.ones_like(self.num_tokens) if self.is_pooled else self.num_tokens
        bytes_per_token = model.config.text_config.hidden_size * STORAGE_TYPES[storage].itemsize
        self.num_bytes = int(self.lengths.sum()) * bytes_per_token
        self.folder = root / self._key()
        numbers = (np.cumsum(self.lengths) - 1) // max(1, FILE_BYTES // bytes_per_token)
        shares = np.split(np.arange(len(self)), np.flatnonzero(np.diff(numbers)) + 1)
        self.files = {self.folder / f"{number:05d}.safetensors": share for number, share in enumerate(shares)}

    def __len__(self) -> int:
        return len(self.places)

    def is_written(self) -> bool:
        """Whether all files are there."""
        return all(path.is_file() for path in self.files)

    def _texts(self, numbers: Iterable[int]) -> list[str]:
        return [self.column[int(self.places[number])].as_py() for number in numbers]

    def _key(self) -> str:
        tower = self.model.text_tower
        tokenizer = json.loads(self.processor.tokenizer.backend_tokenizer.to_str())
        settings = {
            "format": FORMAT,
            "depth": self.depth,
            "pooling": self.model.config.text_pooling if self.is_pooled else None,
            "storage": self.storage,
            "computed": "bf16" if self.use_bf16 else str(self.model.dtype),
            "text_config": computed_with(self.model.config.text_config),
            "max_length": self.processor.tokenizer.model_max_length,
            # What the last call left behind is no part of the tokenizer.
            "tokenizer": {name: part for name, part in tokenizer.items() if name not in ("padding", "truncation")},
        }
        key = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
        key.update(self.names.tobytes())
        for module in frozen_layers(tower, len(text_layers(tower)) - self.depth):
            for tensor in module.state_dict().values():
                key.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return key.hexdigest()

    def write(
        self, device: Any = None, *, show_progress: bool = False, process_index: int = 0, num_processes: int = 1
    ) -> None:
        """Write this process's share of the files that are not there yet; `device` computes, `None`: the model's."""
        free = shutil.disk_usage(next(place for place in self.folder.absolute().parents if place.exists())).free
        if self.num_bytes > free - RESERVED_BYTES:
            raise OSError(
                f"Got {_gigabytes(free)} free on its disk, but it needs {_gigabytes(self.num_bytes)} beside "
                f"{_gigabytes(RESERVED_BYTES)} that are left alone. Make room, or name another text_cache_dir"
            )
        share = islice(self.files.items(), process_index, None, num_processes)
        missing = {path: numbers for path, numbers in share if not path.is_file()}
        home, total = self.model.device, sum(map(len, missing.values()))
        self.model.text_tower.to(device or home)
        bar = tqdm(total=total, desc="frozen text", unit="text", disable=not show_progress or not total)
        try:
            with evaluation_mode(self.model), bar, freed_memory_kept():
                for path, numbers in missing.items():
                    # Views of one tensor: many small ones would leave the memory in pieces that no later file fits in.
                    hidden = self._hidden_states(numbers, bar).split(self.lengths[numbers].tolist())
                    names = self.names[numbers].astype(str).tolist()
                    with atomic_file(path) as unfinished:
                        save_file(dict(zip(names, hidden, strict=True)), unfinished)
                    del hidden
                    return_freed_memory()
        finally:
            self.model.text_tower.to(home)

    def _hidden_states(self, numbers: np.ndarray, bar: "tqdm[Any]") -> Tensor:
        """Hidden states of some texts one after the other `(tokens, dim)`, without padding."""
        device, storage = self.model.text_tower.device, STORAGE_TYPES[self.storage]
        found = torch.empty(int(self.lengths[numbers].sum()), self.model.config.text_config.hidden_size, dtype=storage)
        end = 0
        for batch in self._batches(numbers, BATCH_TOKENS_ON_CPU if device.type == "cpu" else BATCH_TOKENS):
            inputs = self.processor(text=self._texts(batch)).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=self.use_bf16):
                hidden = self.model.encode_frozen_text(inputs["input_ids"], inputs["attention_mask"], self.depth)
            start = end
            for states, length in zip(hidden.to(storage).cpu(), self.lengths[batch].tolist(), strict=True):
                found[end : end + length] = states[:length]
                end += length
            if not torch.isfinite(found[start:end]).all():
                raise ValueError(
                    f"Frozen text has values that cannot be stored as {self.storage}. Set text_cache_dtype: bf16, or "
                    "cache_frozen_text: false."
                )
            bar.update(len(batch))
        return found

    def _batches(self, numbers: Iterable[int], most_tokens: int) -> Iterator[list[int]]:
        """As many texts as fit, padded to one width: of each shape the matrix library keeps a megabyte."""
        for width, texts in groupby(numbers, key=lambda number: -(-int(self.num_tokens[number]) // TOKENS_MULTIPLE)):
            while batch := list(islice(texts, max(1, most_tokens // (TOKENS_MULTIPLE * width)))):
                yield batch


def shards_parameters(training: TrainingArguments) -> bool:
    """Whether FSDP is asked for, by a recipe or by the launcher."""
    return bool(training.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def frozen_text(
    model: Any, processor: Any, splits: Mapping[str, Any], data: DataArguments, training: TrainingArguments
) -> tuple[FrozenText | None, str]:
    """The cache for this run's collator, which all processes make, or `None`; and a sentence that says why."""
    if data.cache_frozen_text == "false":
        return None, "Frozen text: computed in every batch (cache_frozen_text: false)"
    depth = model.num_frozen_text_layers
    # All processes must run the same layers to put shards together, also one whose batch has no text.
    is_sharded = shards_parameters(training)
    if is_sharded or not depth:
        every_batch = "computed in every batch, because FSDP shards the layers"
        obstacle = every_batch if is_sharded else "none, all text layers learn"
        if data.cache_frozen_text == "true":
            raise ValueError(
                f"cache_frozen_text is true, but there is no frozen text: {obstacle}. Set cache_frozen_text: auto."
            )
        return None, f"Frozen text: {obstacle}"
    root = Path(data.text_cache_dir or Path(datasets.config.HF_DATASETS_CACHE) / "semart_hf" / "frozen_text")
    column = text_column([splits[name] for name in ("train", "validation") if name in splits])
    writer = FrozenTextWriter(
        root, model, processor, column, depth=depth, storage=data.text_cache_dtype, use_bf16=bool(training.bf16)
    )
    if not len(writer):
        return None, "Frozen text: none, no row has a text"
    choice = f"{len(writer):,d} distinct texts through {depth} frozen layers"
    if writer.is_written():
        return FrozenText(writer.folder, depth), f"Frozen text: {choice} read from {writer.folder}"
    reads = expected_reads(splits["train"].num_rows, data, training)  # of a stream, not those of an epoch
    if data.cache_frozen_text == "auto" and reads < 2:  # not worth a place on the disk
        return None, f"Frozen text: {choice} in every batch; each is read {reads:.1f} times, too few for a cache"
    state, failure = PartialState(), "another process could not write it"
    try:
        is_shown, share = state.is_main_process and not training.disable_tqdm, state.process_index
        writer.write(training.device, show_progress=is_shown, process_index=share, num_processes=state.num_processes)
    except (OSError, SafetensorError) as error:
        failure = f"the cache in {writer.folder.parent} could not be written: {error}"
    state.wait_for_everyone()
    if not writer.is_written():  # the same answer in all processes
        return None, f"Frozen text: computed in every batch, because {failure}."
    size = _gigabytes(writer.num_bytes)
    return FrozenText(writer.folder, depth), f"Frozen text: {choice}, kept in {size} in {writer.folder}"


def text_column(splits: Iterable[datasets.Dataset | PaintingStream]) -> pa.ChunkedArray:
    """The texts of all rows where they lie on the disk; those of a stream are written there."""
    chunks: list[pa.Array] = []
    for rows in splits:
        if isinstance(rows, PaintingStream):
            texts = column_of(rows, "text")
            pieces = iter(lambda: list(islice(texts, PIECE_ROWS)), [])  # noqa: B023
            rows = stored_rows(pa.table({"text": pa.array(piece, pa.string())}) for piece in pieces)
        if "text" in rows.column_names:
            column = rows.select_columns("text").with_format("arrow")[:]["text"]
            chunks += column.cast(pa.string()).chunks
    return pa.chunked_array(chunks, pa.string())


def expected_reads(num_rows: int, data: DataArguments, training: TrainingArguments) -> float:
    """How many times training will read a text on average, of `num_rows` rows to learn from."""
    rows = training.num_train_epochs * (data.epoch_length or num_rows)
    if training.max_steps > 0:
        rows = training.max_steps * training.train_batch_size * training.gradient_accumulation_steps
        rows *= training.world_size
    return rows / num_rows * (1 - data.text_dropout)


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"


def learn_tokenizer(texts: Iterable[Any], *, vocab_size: int = 4000, max_length: int = 512) -> DistilBertTokenizer:
    """A lower-casing WordPiece tokenizer of DistilBERT's class, the same for the same texts in any order."""
    corpus = sorted(text for text in texts if text and text.strip())
    if not corpus:
        raise ValueError(
            "Got no text to learn a tokenizer from. Give some, or e.g. text: distilbert/distilbert-base-uncased."
        )
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    # As DistilBertTokenizer cuts its texts.
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    inside: set[str] = set()
    for text in corpus:
        for word, _ in pieces.pre_tokenizer.pre_tokenize_str(pieces.normalizer.normalize_str(text)):
            counts.update(word)
            inside.update(word[1:])
    most = min(1000, (vocab_size - len(SPECIAL_TOKENS)) // 2)
    letters = sorted(sorted(counts, key=lambda letter: (-counts[letter], letter))[:most])
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        # The trainer numbers pieces as it meets them in a hash table, and breaks ties by these numbers: without a
        # number beforehand for the letters inside words, two runs learn two vocabularies.
        special_tokens=[*SPECIAL_TOKENS, *(f"##{letter}" for letter in letters if letter in inside)],
        show_progress=False,
    )
    pieces.train_from_iterator(corpus, trainer)
    return DistilBertTokenizer(vocab=pieces.get_vocab(), model_max_length=max_length)


def learn_idf(lexicon: Lexicon, processor: SemArtProcessor, paintings: Any) -> None:
    """Take each token's inverse document frequency from the training texts, unless the lexicon has them already."""
    if lexicon.idf.any():
        return
    tokenizer = processor.tokenizer
    texts = (text for text in column_of(paintings, "text") if text and text.strip())
    pieces = iter(lambda: list(islice(texts, _TEXTS_AT_ONCE)), [])
    batches = (tokenizer(piece, truncation=True, return_attention_mask=False) for piece in pieces)
    lexicon.learn_idf((ids for batch in batches for ids in batch["input_ids"]), tokenizer.all_special_ids)
