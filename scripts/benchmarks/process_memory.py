"""Memory and processor time of a process with all that it started, from what Linux says in /proc."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def memory_of_tree(process: int, *parts: str) -> int:
    """Bytes that a process and its descendants hold together; what they share counts in proportion (PSS).

    Pages of mapped files are left out, which are the system's cache; with the part `Pss:` alone they count.
    """
    wanted = parts or ("Pss_Anon:", "Pss_Shmem:")
    rollups = [_read(one.pid, "smaps_rollup") for one in processes_of_tree(process)]
    return sum(_bytes(rollup, part) for rollup in rollups for part in wanted)


def peak_memory_of_tree(process: int) -> int:
    """`memory_of_tree` at the largest process's peak since its start or `forget_peaks`, rather too high."""
    statuses = [_read(one.pid, "status") for one in processes_of_tree(process)]
    largest = max(statuses, key=lambda status: _bytes(status, "VmRSS:"), default="")
    return memory_of_tree(process) + max(0, _bytes(largest, "VmHWM:") - _bytes(largest, "VmRSS:"))


def forget_peaks(process: int) -> None:
    """Let the peaks of a process and its descendants begin at what they hold now, where the system offers it."""
    for one in processes_of_tree(process):
        with suppress(OSError):
            Path(f"/proc/{one.pid}/clear_refs").write_text("5")


def processor_seconds_of_tree(process: int) -> float:
    """Seconds that a process, its descendants and those of them that have ended computed."""
    seconds = 0.0
    for one in processes_of_tree(process):
        with suppress(psutil.Error):
            seconds += sum(one.cpu_times()[:4])
    return seconds


def processes_of_tree(process: int) -> list[psutil.Process]:
    """A process and its descendants; none if it has ended."""
    with suppress(psutil.Error):
        root = psutil.Process(process)
        return [root, *root.children(recursive=True)]
    return []


def _read(number: int, name: str) -> str:
    with suppress(OSError):  # it has ended
        return Path(f"/proc/{number}/{name}").read_text()
    return ""


def _bytes(text: str, name: str) -> int:
    return next((1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith(name)), 0)
