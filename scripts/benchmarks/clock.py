"""The measured process's end: it does so many steps as it is asked for, and tells how long they took."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import Any

ADDRESS_VARIABLE = "SEMART_BENCHMARK_ADDRESS"


class Clock:
    """Counts steps between two stops, at which the process waits for what it is told next.

    The first stop is after the first step, so that the parent learns when the process has warmed up. Where nobody
    measures, there are no stops.
    """

    def __init__(self, **facts: Any) -> None:
        """Connect to the process that measures, if there is one, and tell it facts about this one."""
        self._facts: dict[str, Any] = facts
        self._wanted = 1
        self._is_measured = ADDRESS_VARIABLE in os.environ
        if self._is_measured:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(os.environ[ADDRESS_VARIABLE])
            self._lines = self._socket.makefile("r", encoding="utf-8")
        self._begin()

    def tick(self, rows: int) -> None:
        """One step with so many rows is done; at a stop this returns when the parent asks for more.

        Raises:
            SystemExit: If the parent asks for no more.
        """
        if not self._is_measured:
            return
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        self._last = now
        self._rows += rows
        if len(self._seconds) < self._wanted:
            return
        self._send({"seconds": self._seconds, "rows": self._rows, **self._facts, **gpu_memory()})
        self._facts = {}
        order = json.loads(self._lines.readline() or "{}")
        if "steps" not in order:
            raise SystemExit(0)
        self._wanted = order["steps"]
        self._begin()

    def _begin(self) -> None:
        self._seconds: list[float] = []
        self._rows = 0
        self._last = time.perf_counter()

    def _send(self, message: dict[str, Any]) -> None:
        self._socket.sendall(json.dumps(message).encode() + b"\n")


def gpu_memory() -> dict[str, int]:
    """Most megabytes that tensors had on the GPU, where this process computes on one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"gpu_peak_mb": round(torch.cuda.max_memory_allocated() / 2**20)}
