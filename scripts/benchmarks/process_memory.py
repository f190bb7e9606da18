"""Memory and processor time of a process with all that it started, from what Linux says in /proc."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil


def memory_of_tree(process: int, parts: Sequence[str] = ("Pss_Anon:", "Pss_Shmem:")) -> int:
    """Bytes that a process and its descendants hold together, each page once.

    What processes share counts in proportion (PSS), so that the pages of a forked worker that are still its parent's
    are not counted twice. Pages of mapped files, libraries and data alike, are the system's cache, which it takes back
    as it needs them: they are left out, as are those that a program reads without mapping. With the part `Pss:` alone,
    they count.
    """
    rollups = [_read(one.pid, "smaps_rollup") for one in processes_of_tree(process)]
    return 1024 * sum(_kilobytes(rollup, part) for rollup in rollups for part in parts)


def peak_memory_of_tree(process: int) -> int:
    """`memory_of_tree` at the time of the largest process's peak: what it held beyond today is added.

    The peak is that since its start, or since `forget_peaks`. It has the pages of mapped files that it held then and
    does not hold now, so that it is too high rather than too low.
    """
    statuses = [_read(one.pid, "status") for one in processes_of_tree(process)]
    largest = max(statuses, key=lambda status: _kilobytes(status, "VmRSS:"), default="")
    gone = max(0, _kilobytes(largest, "VmHWM:") - _kilobytes(largest, "VmRSS:"))
    return memory_of_tree(process) + 1024 * gone


def forget_peaks(process: int) -> None:
    """Let the peaks of a process and its descendants begin at what they hold now."""
    for one in processes_of_tree(process):
        with suppress(OSError):  # it has ended, or the system does not offer it: then the peak is that since its start
            Path(f"/proc/{one.pid}/clear_refs").write_text("5")


def processor_seconds_of_tree(process: int) -> float:
    """Seconds that a process, its descendants and those of them that have ended computed."""
    seconds = 0.0
    for one in processes_of_tree(process):
        with suppress(psutil.Error):
            times = one.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def processes_of_tree(process: int) -> list[psutil.Process]:
    """A process and its descendants; none if it has ended."""
    with suppress(psutil.Error):
        root = psutil.Process(process)
        return [root, *root.children(recursive=True)]
    return []


def _read(number: int, name: str) -> str:
    """What the system says of a process; nothing if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{number}/{name}").read_text()
    return ""


def _kilobytes(text: str, name: str) -> int:
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(name)), 0)
