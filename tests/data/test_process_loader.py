"""Workers live as long as their process: a cluster's SIGTERM does not end them, the end of the process does."""

import os

import pytest
from warm_python import run_python

PROCESS = """
import multiprocessing, os, signal, sys, time
from accelerate import Accelerator
from semart_hf.data.sampling import process_loader

how, own = sys.argv[1], os.nice(0) if hasattr(os, "nice") else 0
options = {"batch_size": 2, "num_workers": 2, "prefetch_factor": 1, "multiprocessing_context": "fork"}
collate = lambda rows: [rows, os.nice(0) - own if hasattr(os, "nice") else 15]
options.update(persistent_workers=how == "persistent", collate_fn=collate)
batches = iter(process_loader(list(range(12)), Accelerator(cpu=True), **options))
seen = [next(batches)]
workers = multiprocessing.active_children()
for worker in workers:
    os.kill(worker.pid, signal.SIGTERM)
time.sleep(0.5)
assert all(worker.is_alive() for worker in workers) and len(workers) == 2
for batch in batches:
    seen.append(batch)
    if how == "fails":
        raise SystemExit("stopped within an epoch")
print([row for rows, _ in seen for row in rows], {niceness for _, niceness in seen})
"""


@pytest.mark.parametrize("how", ["persistent", "for one epoch", "fails"])
def test_workers_outlive_a_termination_but_not_their_process_and_leave_it_the_cores(how, tmp_path):
    done = run_python("-c", PROCESS, how, logs=tmp_path, timeout=120, returncode=int(how == "fails"))
    if how == "fails":
        assert done.stderr.strip().endswith("stopped within an epoch")
    else:
        assert done.stdout.strip() == f"{list(range(12))} {{{min(15, 19 - os.nice(0))}}}"
