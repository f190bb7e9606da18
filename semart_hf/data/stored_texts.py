"""Distinct texts on disk: however many rows a data set has, none of its texts stays in memory."""

import copy
import hashlib
import mmap
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from semart_hf.files import full_disk_explained


def digest_of(text: str) -> bytes:
    """16 bytes by which a text is found."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class StoredTexts(Sequence[str]):
    """The distinct texts among some, in the order in which they first come, read from a temporary file one by one.

    The file is gone when the texts are, or when the process ends.

    Args:
        texts: Missing and blank ones are passed over.

    Raises:
        OSError: The disk of temporary files is full.
    """

    def __init__(self, texts: Iterable[str | None]) -> None:
        known: set[bytes] = set()
        digests, ends = bytearray(), array("q", [0])
        with tempfile.TemporaryFile(prefix="semart_hf-") as file:
            with full_disk_explained(tempfile.gettempdir(), "Make room, or set TMPDIR."):
                for text in texts:
                    if not text or not text.strip():
                        continue
                    digest = digest_of(text)
                    if digest not in known:
                        known.add(digest)
                        digests += digest
                        ends.append(ends[-1] + file.write(text.encode("utf-8", "surrogatepass")))
                file.flush()
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if ends[-1] else b""
        places = np.array(ends, dtype=np.int64)
        self._starts, self._ends = places[:-1], places[1:]
        self._digests = np.frombuffer(bytes(digests), dtype="V16")

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        return self._content[self._starts[place] : self._ends[place]].decode("utf-8", "surrogatepass")

    @property
    def digests(self) -> list[bytes]:
        """16 bytes of each, as `digest_of` gives them."""
        return [digest.tobytes() for digest in self._digests]

    def in_order(self, order: npt.NDArray[np.int64]) -> "StoredTexts":
        """The same texts in another order.

        Args:
            order: Number of each text in the present one `(texts,)`.
        """
        texts = copy.copy(self)
        texts._starts, texts._ends = self._starts[order], self._ends[order]
        texts._digests = self._digests[order]
        return texts
