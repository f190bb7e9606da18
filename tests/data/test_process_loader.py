"""Workers live as long as their process: a cluster's SIGTERM does not end them, the end of the process does."""

import os
import subprocess
import sys

import pytest

PROCESS = """
import os, signal, sys, time
from accelerate import Accelerator
from semart_hf.data.process_loader import process_loader

persistent, fails = sys.argv[1:] == ["persistent"], sys.argv[1:] == ["fails"]
options = {"batch_size": 2, "num_workers": 2, "prefetch_factor": 1, "persistent_workers": persistent}
loader = process_loader(list(range(12)), Accelerator(cpu=True), **options)
batches = iter(loader)
seen = next(batches).tolist()
import multiprocessing
workers = multiprocessing.active_children()
for worker in workers:
    os.kill(worker.pid, signal.SIGTERM)
time.sleep(0.5)
assert all(worker.is_alive() for worker in workers) and len(workers) == 2
for batch in batches:
    seen += batch.tolist()
    if fails and len(seen) > 4:
        raise SystemExit("stopped within an epoch")
print(seen)
"""

PRIORITIES = """
import os
from accelerate import Accelerator
from semart_hf.data.process_loader import process_loader

loader = process_loader(range(2), Accelerator(cpu=True), num_workers=1, collate_fn=lambda rows: os.nice(0))
print(os.nice(0), *loader)
"""


@pytest.mark.skipif(not hasattr(os, "nice"), reason="the system has no priorities of this kind")
def test_workers_leave_the_cores_to_the_model():
    done = subprocess.run([sys.executable, "-c", PRIORITIES], capture_output=True, text=True, timeout=120, check=True)
    own, *workers = map(int, done.stdout.split())
    assert workers == [min(own + 15, 19)] * 2


@pytest.mark.parametrize("how", ["persistent", "for one epoch", "fails"])
def test_workers_outlive_a_termination_but_not_their_process(how):
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, how],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if how == "fails":
        assert done.returncode == 1
        assert done.stderr.strip().endswith("stopped within an epoch")
    else:
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(list(range(12)))
