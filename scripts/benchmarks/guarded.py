"""Child processes that end when this one ends, however it ends, and the memory that they hold."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

# Stands between this process and the command. Its standard input is a pipe that this process holds open: when that is
# closed, by whatever ended this process, it kills the command and all that the command started. It is not stopped when
# they are, nor interrupted from the terminal.
GUARD = """
import os, signal, subprocess, sys, threading

def kill():
    try:
        os.killpg(command.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass

command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
print(command.pid, flush=True)
threading.Thread(target=lambda: (os.read(0, 1), kill()), daemon=True).start()
status = command.wait()
kill()
os._exit(status if status >= 0 else 128 - status)
"""


class Guarded:
    """A running command in a process group of its own, as a context at whose end it is killed.

    Args:
        command: Program and arguments.
        environment: Further environment variables.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of the context
        self._guard = subprocess.Popen(
            [sys.executable, "-c", GUARD, *command],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            start_new_session=True,
        )
        self.ended = self._guard.stdout
        """Can be read from, as `select` has it, when the command has ended."""
        self.pid = int(self.ended.readline())  # type: ignore[union-attr]

    def __enter__(self) -> Guarded:
        """The command runs."""
        return self

    def __exit__(self, *error: object) -> None:
        """Kill the command and what it started."""
        self._guard.communicate()  # closes the pipe
        self._output.close()

    def signal(self, number: int) -> None:
        """Send a signal to the command and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def printed(self) -> str:
        """What the command has printed so far, errors too."""
        file = self._output.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    def check(self, name: str) -> None:
        """Wait for the command's end.

        Raises:
            RuntimeError: If it fails.
        """
        if self._guard.wait():
            raise RuntimeError(
                f"{name} ended with {self._guard.returncode}. Its last lines:\n{self.printed()[-3000:]}"
            )

    def processes(self) -> list[psutil.Process]:
        """The command and its descendants; none if it has ended."""
        with suppress(psutil.Error):
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        return []

    def memory(self) -> int:
        """Bytes that the processes hold together: what they share counts in proportion, and no page of mapped files.

        Those are the system's cache.
        """
        return sum(_proc_bytes(one.pid, "smaps_rollup", "Pss_Anon", "Pss_Shmem") for one in self.processes())

    def peak_memory(self) -> int:
        """`memory` at the largest process's peak since its start or `forget_peaks`, rather too high."""
        resident = {one.pid: _proc_bytes(one.pid, "status", "VmRSS") for one in self.processes()}
        largest = max(resident, key=resident.__getitem__, default=0)
        given_back = _proc_bytes(largest, "status", "VmHWM") - resident.get(largest, 0)
        return self.memory() + max(0, given_back)

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


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[float, str]:
    """Seconds that a command took, and what it printed; see `Guarded.check`."""
    start = time.perf_counter()
    with Guarded(command, environment) as process:
        process.check(" ".join(command[:4]))
        return time.perf_counter() - start, process.printed()


def end_with_parent() -> None:
    """Let this process, one of a pool's, end as soon as the process that started the pool has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def raise_on_termination() -> None:
    """Let SIGTERM and SIGINT end this process by an exception, so that what it made is removed.

    A shell starts what it runs in the background with SIGINT ignored.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
