"""How much memory a tree of processes holds: what they share counts once, and what is gone to the peak."""

import os
import signal
import subprocess
import sys

from tiny_release import load_script

load_script("benchmark")  # puts the parts within reach of the imports below

from benchmarks.sides import forget_peaks, memory_of_tree, peak_memory_of_tree, processes_of_tree  # noqa: E402


def test_pages_that_processes_share_count_once():
    held = 200 * 2**20
    code = (
        "import os, time",
        f"held = b'x' * {held}",
        "parent = os.getpid()",
        "[os.getpid() == parent and os.fork() for _ in range(2)]",
        "print('ready', flush=True)",
        "time.sleep(60)",
    )
    process = subprocess.Popen([sys.executable, "-c", "\n".join(code)], stdout=subprocess.PIPE, start_new_session=True)
    try:
        for _ in range(3):
            process.stdout.readline()
        assert len(processes_of_tree(process.pid)) == 3
        assert held < peak_memory_of_tree(process.pid) < 1.3 * held
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_what_a_process_gave_back_counts_to_its_peak():
    held = 200 * 2**20
    code = f"import time; held = b'x' * {held}; del held; print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert held < peak_memory_of_tree(process.pid) < 1.3 * held
        assert memory_of_tree(process.pid) < 0.3 * held
        forget_peaks(process.pid)
        assert peak_memory_of_tree(process.pid) < 0.3 * held
        process.kill()


def test_pages_of_a_mapped_file_are_the_systems(tmp_path):
    size = 200 * 2**20
    with (tmp_path / "data").open("wb") as file:
        file.truncate(size)
    code = (
        "import mmap, time",
        f"file = open({str(tmp_path / 'data')!r}, 'rb')",
        "mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)",
        f"total = sum(mapped[place] for place in range(0, {size}, 4096))",
        "print('ready', flush=True)",
        "time.sleep(60)",
    )
    with subprocess.Popen([sys.executable, "-c", "\n".join(code)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert 2**20 < peak_memory_of_tree(process.pid) < size / 4
        process.kill()
