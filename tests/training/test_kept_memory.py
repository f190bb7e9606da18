"""Freed memory stays with the process while it is asked to, and no longer."""

import platform
import resource

import pytest
from warm_python import run_python

PROCESS = """
import resource
import torch
from semart_hf.training.techniques import keep_freed_memory

def faults():
    for _ in range(32):  # the first ones make room
        torch.ones(8, 1024, 1024)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(8, 1024, 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
assert keep_freed_memory()
print(faults())
keep_freed_memory(False)
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these thresholds")
def test_large_tensors_are_not_paged_in_again(tmp_path):
    done = run_python("-c", PROCESS, logs=tmp_path)
    usual, kept, undone = map(int, done.stdout.split())
    pages = 8 * 32 * 2**20 / resource.getpagesize()
    assert kept < 0.02 * pages
    assert kept < undone / 10
    assert undone >= 0.9 * usual
