"""Processes that end with this one and compute in turns, while all others stand still; figures formed turn by turn."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

# Reads a pipe that this process holds open. When that is closed, by whatever ended this process, the group is killed.
GUARD = 'read _; kill -s KILL -- "-$0"'
REPORT = "turn "  # begins the lines that a measured process prints for its parent


class Guarded:
    """A command that runs in a process group of its own, as a context at whose end it is killed."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.command, self.environment = command, environment or {}

    def __enter__(self) -> Guarded:
        self._errors = tempfile.TemporaryFile()
        pipe, environment = subprocess.PIPE, {**os.environ, **self.environment}
        streams = {"stdin": pipe, "stdout": pipe, "stderr": self._errors}
        self.process = subprocess.Popen(self.command, env=environment, text=True, start_new_session=True, **streams)
        words = ["sh", "-c", GUARD, str(self.process.pid)]
        self._guard = subprocess.Popen(words, stdin=pipe, stderr=subprocess.DEVNULL, start_new_session=True)
        return self

    def __exit__(self, *error: object) -> None:
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


class Clock:
    """Counts the steps of this process, one of a `Side`: stops after the first, and then as its parent orders."""

    def __init__(self) -> None:
        self._wanted, self._seconds, self._rows = 1, list[float](), 0
        self._last = time.perf_counter()

    def tick(self, rows: int) -> None:
        """Count a step with so many rows; at a stop, wait until the parent asks for more, or end."""
        self._seconds.append(time.perf_counter() - self._last)
        self._rows += rows
        if len(self._seconds) == self._wanted:
            print(f"\n{REPORT}{json.dumps([self._seconds, self._rows])}", flush=True)
            order = sys.stdin.readline()
            if not order:
                raise SystemExit(0)
            self._wanted, self._seconds, self._rows = int(order), [], 0
        self._last = time.perf_counter()


class Turn(NamedTuple):
    """What a side did in one turn: the seconds of each step, and the rows in all of them together."""

    seconds: list[float]
    rows: int


class Side(Guarded):
    """A command that runs a `Clock`, by the name that figures give it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        super().__init__(command, environment)
        self.name, self.turns = name, list[Turn]()
        self.seconds_to_first_step, self.peak_bytes = 0.0, 0

    def __enter__(self) -> Side:
        """Start the process and wait until its first step is done."""
        begin = time.perf_counter()
        with ExitStack() as stack:
            stack.push(super().__enter__())
            self._receive()
            stack.pop_all()  # it goes on
        self.seconds_to_first_step = time.perf_counter() - begin
        self.forget_peaks()
        return self

    def take_turn(self, steps: int) -> Turn:
        """Let the process do so many steps, and keep what it took."""
        self.signal(signal.SIGCONT)
        print(steps, file=self.process.stdin, flush=True)
        self.turns.append(self._receive())
        self.peak_bytes = max(self.peak_bytes, self.peak_memory())
        return self.turns[-1]

    def _receive(self) -> Turn:
        for line in self.process.stdout or ():
            if line.startswith(REPORT):
                self.signal(signal.SIGSTOP)
                return Turn(*json.loads(line.removeprefix(REPORT)))
        self.output(f"{self.name}: the measured process")
        raise RuntimeError(f"{self.name}: the measured process ended before its time.")


def alternate(sides: Sequence[Side], *, repeats: int, seconds: float) -> None:
    """Replace the sides' turns by some of about so many seconds, forwards and backwards: drift hits all alike."""
    steps = {side.name: max(1, round(seconds / side.take_turn(1).seconds[0])) for side in sides}
    for side in sides:
        side.turns.clear()
    for repeat in range(repeats):
        for side in sides if repeat % 2 == 0 else reversed(sides):
            side.take_turn(steps[side.name])


def speed_beside(sides: Sequence[Side], number: int, *, repeats: int) -> dict[str, dict[str, float]]:
    """Each side's speed beside so many busy processes, over that without them, in turns as long as its last one."""
    left: dict[str, list[float]] = {side.name: [] for side in sides}
    with ExitStack() as stack:
        busy = [stack.enter_context(Guarded([sys.executable, "-c", "while True: pass"])) for _ in range(number)]
        for side in list(sides) * repeats:
            steps = len(side.turns[-1].seconds)
            rates = []
            for order in (signal.SIGSTOP, signal.SIGCONT):
                for process in busy:
                    process.signal(order)
                rates.append(rows_per_second(side.take_turn(steps)))
            left[side.name].append(rates[1] / rates[0])
    return {name: spread(ratios) for name, ratios in left.items()}


def rows_per_second(turn: Turn) -> float:
    return turn.rows / sum(turn.seconds)


def milliseconds(turn: Turn) -> float:
    return 1000 * statistics.median(turn.seconds)


def figure(side: Side, measure: Callable[[Turn], float], over: Side | None = None) -> dict[str, float]:
    """Median, smallest and largest of a side's turns; over another side's, formed turn by turn."""
    values = [measure(turn) for turn in side.turns]
    if over is not None:
        values = [value / measure(turn) for value, turn in zip(values, over.turns, strict=True)]
    return spread(values)


def spread(values: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in found.items()}
