"""What the frozen layers of the text tower make of descriptions: computed once, kept on disk, read in every epoch.

A cache is a folder of chunks. A chunk is one safetensors file of texts of about the same length: their hidden states
one after the other without padding, their digests, and how many tokens each has. `cache_computing` writes them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from semart_hf.model.processing_semart import TOKENS_MULTIPLE

# What a process has looked at of mapped files counts as its memory until it lets go of them: after so many bytes. The
# pages beside a text are mapped with it, so that it holds a multiple of them.
_MAPPED_BYTES = 16 * 2**20


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
        self._paths: list[Path] = []
        self._hidden: dict[int, Tensor] = {}
        self._bytes_read = 0
        self._digests = np.zeros((0, 2), dtype=np.int64)
        self._places = np.zeros((0, 3), dtype=np.int64)
        self._read_index()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "depth": self.depth}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._digests)

    def __contains__(self, text: str) -> bool:
        return self._row(digest_of(text)) is not None

    def knows(self, texts: Iterable[str | None]) -> bool:
        """Whether all the texts are here; those that are `None` need not be."""
        return self.knows_digests(digest_of(text) for text in texts if text is not None)

    def knows_digests(self, digests: Iterable[bytes]) -> bool:
        """Whether all the texts of these digests are here."""
        return all(self._row(digest) is not None for digest in digests)

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

    def digests(self, *, except_from: str) -> set[bytes]:
        """Digests of the texts that are here, but for those of the chunks whose names begin with `except_from`."""
        chosen = [number for number, path in enumerate(self._paths) if not path.name.startswith(except_from)]
        rows = np.isin(self._places[:, 0], chosen)
        return {digest.tobytes() for digest in self._digests[rows]}

    def _hidden_states(self, text: str) -> Tensor:
        row = self._row(digest_of(text))
        if row is None:
            raise KeyError(f"The text {text[:60]!r} is not in {self.folder}.")
        chunk, start, length = self._places[row].tolist()
        if chunk not in self._hidden:
            with _opened(self._paths[chunk]) as file:
                self._hidden[chunk] = file.get_tensor("hidden")  # mapped, not read
        return self._hidden[chunk][start : start + length]

    def _row(self, text_digest: bytes) -> int | None:
        digest = np.frombuffer(text_digest, dtype=np.int64)
        row = int(np.searchsorted(self._digests[:, 0], digest[0]))
        while row < len(self._digests) and self._digests[row, 0] == digest[0]:
            if self._digests[row, 1] == digest[1]:
                return row
            row += 1
        return None

    def _read_index(self) -> None:
        self._paths = sorted(self.folder.glob("*.safetensors"))
        digests, places = [self._digests], [self._places]
        for number, path in enumerate(self._paths):
            with _opened(path) as file:
                digests.append(file.get_tensor("digests").numpy())
                lengths = file.get_tensor("lengths").numpy()
            starts = np.cumsum(lengths) - lengths
            places.append(np.stack([np.full_like(starts, number), starts, lengths], axis=1))
        all_digests = np.concatenate(digests)
        order = np.argsort(all_digests[:, 0], kind="stable")
        self._digests, self._places = all_digests[order], np.concatenate(places)[order]


def digest_of(text: str) -> bytes:
    """16 bytes by which a text is found."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"The file {path} of the cache of frozen text is damaged ({error}). Allowed are files as they were "
            "written. Delete it: it is computed again."
        ) from error
