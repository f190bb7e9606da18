"""What a process has of its machine: cores, and freed memory, which it keeps for a while or gives back."""

import ctypes
import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's names for: from how many free bytes on memory is given back, from how many bytes on a block is mapped on its
# own, and how many such blocks there may be. Once one of them is set, the others are no longer adjusted: afterwards
# they are what glibc itself comes to after a few large blocks.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}
_num_contexts = 0


@contextmanager
def freed_memory_kept(is_kept: bool = True) -> Iterator[None]:
    """The context in which freed memory stays with the process for the next batch; without glibc nothing changes.

    Otherwise glibc fills each large tensor with zeros page by page: up to half of a forward pass on a CPU.

    Example:
        >>> with freed_memory_kept():
        ...     answers = list(classify(paintings, batch_size=8))
    """
    global _num_contexts  # of the process, as the memory is: the outermost undoes it
    if not is_kept:
        yield
        return
    _num_contexts += 1
    try:
        _set(_KEPT)
        yield
    finally:
        _num_contexts -= 1
        if not _num_contexts:
            _set(_USUAL)


def _set(thresholds: dict[int, int]) -> None:
    """Set these, and give back what is free at the end of the memory; without glibc nothing changes."""
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    for name, value in thresholds.items():
        library.mallopt(name, value)
    library.malloc_trim(0)


def return_freed_memory() -> None:
    """Give back freed memory that Arrow's allocator and glibc keep for the next that asks, which may never come."""
    import pyarrow

    pyarrow.default_memory_pool().release_unused()
    _set({})


@contextmanager
def collection_paused() -> Iterator[None]:
    """The context for imports, which make many objects and no garbage for the collector to find."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def allowed_cores() -> int:
    """Cores that this process may use, as the system counts them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
