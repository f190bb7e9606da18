"""The measured process's end of a measurement: it computes as many steps as asked for, and reports their time."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import Any

ADDRESS_VARIABLE = "SEMART_BENCHMARK_ADDRESS"


class Clock:
    """Counts steps between two stops, at which the process waits for the next order; the first is after one step.

    Args:
        **facts: About this process, which are reported at the first stop.
    """

    def __init__(self, **facts: Any) -> None:
        self._facts, self._wanted = facts, 1
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.environ[ADDRESS_VARIABLE])
        self._orders = self._socket.makefile("r", encoding="utf-8")
        self._seconds: list[float] = []
        self._rows, self._last = 0, time.perf_counter()

    def tick(self, rows: int) -> None:
        """Count a step with so many rows; at a stop this returns when the parent asks for more.

        Raises:
            SystemExit: If the parent asks for no more.
        """
        self._seconds.append(time.perf_counter() - self._last)
        self._rows += rows
        if len(self._seconds) == self._wanted:
            report = {"seconds": self._seconds, "rows": self._rows, **self._facts}
            torch = sys.modules.get("torch")
            if torch is not None and torch.cuda.is_initialized():
                report["gpu_peak_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
            self._socket.sendall(json.dumps(report).encode() + b"\n")
            self._wanted = json.loads(self._orders.readline() or "{}").get("steps")
            if self._wanted is None:
                raise SystemExit(0)
            self._seconds, self._rows, self._facts = [], 0, {}
        self._last = time.perf_counter()
