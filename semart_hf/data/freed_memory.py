"""Memory that was freed, given back to the system where its keepers would keep it."""

import ctypes
import platform

import pyarrow as pa


def return_freed_memory() -> None:
    """Give back what Arrow's allocator and glibc keep of freed memory; other C libraries are left as they are.

    Both keep it for the next that asks: what a catalogue's rows took while they were read would stay with a training
    that reads them no more.
    """
    pa.default_memory_pool().release_unused()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
