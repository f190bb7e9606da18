"""Processes that are measured in turns: while one runs the others are stopped, so that none disturbs another."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.clock import ADDRESS_VARIABLE

SECONDS_TO_START = 3600.0
SECONDS_BETWEEN_LOOKS = 0.1


@dataclass
class Turn:
    """What a side did in one turn.

    Args:
        seconds: Of each step.
        rows: In all steps together.
        processor_seconds: That the side's processes computed, on all cores together. Other work on the machine
            changes them less than `seconds`.
    """

    seconds: list[float]
    rows: int
    processor_seconds: float = 0.0

    @property
    def rows_per_second(self) -> float:
        """Over the whole turn."""
        return self.rows / sum(self.seconds)


@dataclass
class Side:
    """A command that runs a `Clock`, in a process group of its own.

    Args:
        name: How figures name it.
        command: Program and arguments.
        environment: Further environment variables.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds_to_first_step: float = 0.0
    peak_bytes: int = 0

    def start(self) -> Side:
        """Start the process and wait until its first step is done; then it is stopped.

        Raises:
            RuntimeError: If it ends before.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="side-")
        address = str(Path(self._folder.name) / "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen(1)
        listener.settimeout(SECONDS_BETWEEN_LOOKS)
        self._log = Path(self._folder.name) / "log"
        begin = time.perf_counter()
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment, ADDRESS_VARIABLE: address},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while time.perf_counter() - begin < SECONDS_TO_START:
            try:
                self._socket, _ = listener.accept()
                break
            except TimeoutError:
                self._check()
                self.peak_bytes = max(self.peak_bytes, memory_of_tree(self._process.pid))
        listener.close()
        forget_peaks(self._process.pid)
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._receive()  # the first step, in which everything is slow
        self.seconds_to_first_step = time.perf_counter() - begin
        return self

    def take_turn(self, steps: int) -> Turn:
        """Let the process do so many steps, and keep what it took."""
        before = processor_seconds_of_tree(self._process.pid)
        self._signal(signal.SIGCONT)
        self._socket.sendall(json.dumps({"steps": steps}).encode() + b"\n")
        turn = self._receive()
        turn.processor_seconds = processor_seconds_of_tree(self._process.pid) - before
        self.turns.append(turn)
        return turn

    def stop(self) -> None:
        """End the process and all that it started."""
        if self._process.poll() is None:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._socket.close()
        self._folder.cleanup()

    def __enter__(self) -> Side:
        """Start."""
        return self.start()

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self.stop()

    def _receive(self) -> Turn:
        line = self._lines.readline()
        if not line:
            self._process.wait()
            self._check()
            raise RuntimeError(self._ended())
        message = json.loads(line)
        self._signal(signal.SIGSTOP)
        turn = Turn(message.pop("seconds"), message.pop("rows"))
        self.facts |= message
        self.peak_bytes = max(self.peak_bytes, peak_memory_of_tree(self._process.pid))
        return turn

    def _check(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(self._ended())

    def _ended(self) -> str:
        tail = self._log.read_text(errors="replace")[-3000:]
        return f"{self.name}: the measured process ended with {self._process.returncode}. Its last lines:\n{tail}"

    def _signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)


def alternate(sides: Sequence[Side], *, repeats: int, seconds: float) -> None:
    """Let the started sides take turns of about so many seconds, forwards and backwards, so that drift hits all alike.

    Args:
        sides: All started; their `turns` grow by one a repeat.
        repeats: Turns of each.
        seconds: A turn has as many steps as fit, one at least.
    """
    steps = {side.name: max(1, round(seconds / side.take_turn(1).seconds[0])) for side in sides}
    for side in sides:
        side.turns.clear()  # that one was to learn the length of a step
    for repeat in range(repeats):
        for side in sides if repeat % 2 == 0 else reversed(sides):
            side.take_turn(steps[side.name])


def memory_of_tree(process: int, parts: Sequence[str] = ("Pss_Anon:", "Pss_Shmem:")) -> int:
    """Bytes that a process and its descendants hold together, each page once.

    What processes share counts in proportion (PSS), so that the pages of a forked worker that are still its parent's
    are not counted twice. Pages of mapped files, libraries and data alike, are the system's cache, which it takes back
    as it needs them: they are left out, as are those that a program reads without mapping. With the part `Pss:` alone,
    they count.
    """
    rollups = [read_process(number, "smaps_rollup") for number in processes_of_tree(process)]
    return 1024 * sum(_kilobytes(rollup, part) for rollup in rollups for part in parts)


def peak_memory_of_tree(process: int) -> int:
    """`memory_of_tree` at the time of the largest process's peak: what it held beyond today is added.

    The peak is that since its start, or since `forget_peaks`. It has the pages of mapped files that it held then and
    does not hold now, so that it is too high rather than too low.
    """
    resident, gone = 0, 0
    for number in processes_of_tree(process):
        status = read_process(number, "status")
        held = _kilobytes(status, "VmRSS:")
        if held > resident:
            resident, gone = held, max(0, _kilobytes(status, "VmHWM:") - held)
    return memory_of_tree(process) + 1024 * gone


def forget_peaks(process: int) -> None:
    """Let the peaks of a process and its descendants begin at what they hold now."""
    for number in processes_of_tree(process):
        with suppress(OSError):  # it has ended, or the system does not offer it: then the peak is that since its start
            Path(f"/proc/{number}/clear_refs").write_text("5")


def processor_seconds_of_tree(process: int) -> float:
    """Seconds that a process, its descendants and those of them that have ended computed."""
    ticks = 0
    for number in processes_of_tree(process):
        # After the name in brackets: own time in user mode and in the kernel, and that of ended children.
        fields = read_process(number, "stat").rpartition(")")[2].split()[11:15]
        ticks += sum(map(int, fields))
    return ticks / os.sysconf("SC_CLK_TCK")


def processes_of_tree(process: int) -> list[int]:
    """A process and its descendants."""
    found, waiting = [], [process]
    while waiting:
        number = waiting.pop()
        found.append(number)
        waiting += map(int, read_process(number, f"task/{number}/children").split())
    return found


def read_process(number: int, name: str) -> str:
    """What the system tells of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{number}/{name}").read_text()
    except OSError:
        return ""


def _kilobytes(text: str, name: str) -> int:
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(name)), 0)
