"""Freed memory stays with the process while it is asked to, and no longer."""

import platform
import resource
import subprocess
import sys

import pytest

PROCESS = """
import resource, sys
import torch
from semart_hf.training.techniques import keep_freed_memory

if sys.argv[1] != "usual":
    assert keep_freed_memory()
if sys.argv[1] == "undone":
    torch.ones(8, 1024, 1024)
    keep_freed_memory(False)
for _ in range(32):  # the first ones make room
    torch.ones(8, 1024, 1024)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(8, 1024, 1024)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these thresholds")
def test_large_tensors_are_not_paged_in_again():
    faults = {}
    for choice in ("usual", "kept", "undone"):
        command = [sys.executable, "-c", PROCESS, choice]
        faults[choice] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    pages = 8 * 32 * 2**20 / resource.getpagesize()
    assert faults["kept"] < 0.02 * pages
    assert faults["kept"] < faults["undone"] / 10
    assert faults["undone"] >= 0.9 * faults["usual"]
