"""Processes that compute in turns, of which all others stand still, and figures formed turn by turn."""

from __future__ import annotations

import json
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.guarded import Guarded

REPORT = "turn "  # begins the lines that a measured process prints for its parent


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


Measure = Callable[[Turn], float]


def rows_per_second(turn: Turn) -> float:
    return turn.rows / sum(turn.seconds)


def milliseconds(turn: Turn) -> float:
    return 1000 * statistics.median(turn.seconds)


def figure(side: Side, measure: Measure) -> dict[str, float]:
    """Median, smallest and largest of a side's turns."""
    return spread([measure(turn) for turn in side.turns])


def ratio(side: Side, over: Side, measure: Measure) -> dict[str, float]:
    """Median, smallest and largest of a side's measure over another's, formed turn by turn."""
    return spread([measure(turn) / measure(other) for turn, other in zip(side.turns, over.turns, strict=True)])


def spread(values: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in found.items()}
