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
    """Counts steps between two stops, at which the process waits for the next order.

    The first stop is after the first step, so that the parent learns when the process has warmed up.

    Args:
        **facts: About this process, which are reported at the first stop.
    """

    def __init__(self, **facts: Any) -> None:
        self._facts, self._wanted = facts, 1
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.environ[ADDRESS_VARIABLE])
        self._orders = self._socket.makefile("r", encoding="utf-8")
        self._begin()

    def tick(self, rows: int) -> None:
        """Count a step with so many rows; at a stop this returns when the parent asks for more.

        Raises:
            SystemExit: If the parent asks for no more.
        """
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        self._last = now
        self._rows += rows
        if len(self._seconds) < self._wanted:
            return
        report = {"seconds": self._seconds, "rows": self._rows, **self._facts, **gpu_memory()}
        self._socket.sendall(json.dumps(report).encode() + b"\n")
        self._facts = {}
        order = self._orders.readline()
        if not order:
            raise SystemExit(0)
        self._wanted = json.loads(order)["steps"]
        self._begin()

    def _begin(self) -> None:
        self._seconds: list[float] = []
        self._rows = 0
        self._last = time.perf_counter()


def gpu_memory() -> dict[str, int]:
    """Most megabytes that tensors had on the GPU, where this process computes on one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"gpu_peak_mb": round(torch.cuda.max_memory_allocated() / 2**20)}
