"""Processes that compute in turns, of which all others stand still, and figures formed turn by turn."""

from __future__ import annotations

import json
import signal
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.clock import ADDRESS_VARIABLE
from benchmarks.guarded import Guarded
from benchmarks.process_memory import forget_peaks, peak_memory_of_tree, processor_seconds_of_tree

SECONDS_BETWEEN_LOOKS = 0.1


@dataclass
class Turn:
    """What a side did in one turn.

    Args:
        seconds: Of each step.
        rows: In all steps together.
        processor_seconds: That the side's processes computed, on all cores together.
    """

    seconds: list[float]
    rows: int
    processor_seconds: float = 0.0


@dataclass
class Side:
    """A command that runs a `Clock`, started as a context.

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

    def __enter__(self) -> Side:
        """Start the process and wait until its first step is done.

        Raises:
            RuntimeError: If it ends before.
        """
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="side-")))
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(folder / "socket"))
            listener.listen(1)
            listener.settimeout(SECONDS_BETWEEN_LOOKS)
            begin = time.perf_counter()
            environment = {**self.environment, ADDRESS_VARIABLE: str(folder / "socket")}
            self._process = stack.enter_context(Guarded(self.command, environment))
            connection = stack.enter_context(self._accepted(listener))
            self._connection, self._reports = connection, connection.makefile("r", encoding="utf-8")
            forget_peaks(self._process.pid)
            self._receive()
            self.seconds_to_first_step = time.perf_counter() - begin
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """End the process and all that it started."""
        self._stack.close()

    def take_turn(self, steps: int) -> Turn:
        """Let the process do so many steps, and keep what it took."""
        before = processor_seconds_of_tree(self._process.pid)
        self._process.signal(signal.SIGCONT)
        self._connection.sendall(json.dumps({"steps": steps}).encode() + b"\n")
        turn = self._receive()
        turn.processor_seconds = processor_seconds_of_tree(self._process.pid) - before
        self.turns.append(turn)
        return turn

    def _accepted(self, listener: socket.socket) -> socket.socket:
        while True:
            try:
                return listener.accept()[0]
            except TimeoutError:
                if self._process.has_ended():
                    self._fail()

    def _receive(self) -> Turn:
        line = self._reports.readline() or self._fail()
        self._process.signal(signal.SIGSTOP)
        report = json.loads(line)
        turn = Turn(report.pop("seconds"), report.pop("rows"))
        self.facts |= report
        self.peak_bytes = max(self.peak_bytes, peak_memory_of_tree(self._process.pid))
        return turn

    def _fail(self) -> NoReturn:
        self._process.check(f"{self.name}: the measured process")
        raise RuntimeError(f"{self.name}: the measured process ended before its time.")


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


Measure = Callable[[Turn], float]


def rows_per_second(turn: Turn) -> float:
    """Over the whole turn."""
    return turn.rows / sum(turn.seconds)


def rows_per_processor_second(turn: Turn) -> float:
    """What is the same on a busy machine."""
    return turn.rows / max(turn.processor_seconds, 1e-9)


def milliseconds(turn: Turn) -> float:
    """The median step's."""
    return 1000 * statistics.median(turn.seconds)


def figure(side: Side, measure: Measure) -> dict[str, float]:
    """Median, smallest and largest of a side's turns."""
    return spread([measure(turn) for turn in side.turns])


def ratio(side: Side, over: Side, measure: Measure) -> dict[str, float]:
    """Median, smallest and largest of a side's measure over another's, formed turn by turn."""
    pairs = zip(side.turns, over.turns, strict=True)
    return spread([measure(turn) / measure(other) for turn, other in pairs])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest, with four significant digits."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: significant(value) for name, value in found.items()}


def significant(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")
