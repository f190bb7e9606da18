"""Child processes that end when this one ends, however it ends, and the memory that they hold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

# Reads a pipe that this process holds open. When that is closed, by whatever ended this process, the group is killed.
GUARD = 'read _; kill -s KILL -- "-$0"'


class Guarded:
    """A command that runs in a process group of its own, as a context at whose end it is killed."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.command, self.environment = command, environment or {}

    def __enter__(self) -> Guarded:
        """Start the command."""
        self._errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self.command,
            env={**os.environ, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        words = ["sh", "-c", GUARD, str(self.process.pid)]
        self._guard = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        return self

    def __exit__(self, *error: object) -> None:
        """Kill the command and what it started."""
        with self._errors, self.process:
            self._guard.communicate()  # closes the pipe

    def signal(self, number: int) -> None:
        """Send a signal to the command and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def output(self, name: str) -> str:
        """What the command prints from now to its end; a RuntimeError if it fails."""
        printed = self.process.communicate()[0]
        if status := self.process.returncode:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace")[-3000:]
            raise RuntimeError(f"{name} ended with {status}. Its last lines:\n{lines}")
        return printed

    def processes(self) -> list[psutil.Process]:
        """The command and its descendants; none if it has ended."""
        with suppress(psutil.Error):
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        return []

    def memory(self) -> int:
        """Bytes that the processes hold together: shared pages in proportion, and no page of mapped files."""
        return sum(_proc_bytes(one.pid, "smaps_rollup", "Pss_Anon", "Pss_Shmem") for one in self.processes())

    def peak_memory(self) -> int:
        """`memory` at the largest process's peak since its start or `forget_peaks`, rather too high."""
        resident = {one.pid: _proc_bytes(one.pid, "status", "VmRSS") for one in self.processes()}
        largest = max(resident, key=resident.__getitem__, default=0)
        return self.memory() + max(0, _proc_bytes(largest, "status", "VmHWM") - resident.get(largest, 0))

    def forget_peaks(self) -> None:
        """Let the processes' peaks begin at what they hold now, where the system offers it."""
        for one in self.processes():
            with suppress(OSError):
                Path(f"/proc/{one.pid}/clear_refs").write_text("5")


def _proc_bytes(pid: int, file: str, *names: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.partition(":")[0] in names)


def raise_on_termination() -> None:
    """Let SIGTERM, and SIGINT, which is ignored in a shell's background, end this process by an exception."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
