"""Processes that are measured in turns: how they are stopped, ended and counted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from benchmarks import turns
from benchmarks.guarded import Guarded, run
from benchmarks.process_memory import forget_peaks, memory_of_tree, peak_memory_of_tree, processes_of_tree
from benchmarks.turns import Side, Turn, alternate

SCRIPTS = Path(__file__).parents[2] / "scripts"
MEASURED = """
import sys, time
sys.path.append({scripts!r})
from benchmarks.clock import Clock
clock = Clock(format="best")
while True:
    {step}
    clock.tick(rows=8)
"""
# Starts a side with a process of its own, prints the numbers of both, and waits.
PARENT = """
import sys, time
sys.path.append({scripts!r})
from benchmarks.guarded import raise_on_termination
from benchmarks.process_memory import processes_of_tree
from benchmarks.turns import Side
raise_on_termination()
with Side("child", [sys.executable, "-c", {code!r}]) as side:
    print(*(process.pid for process in processes_of_tree(side._process.pid)), flush=True)
    time.sleep(60)
"""
WAITING = ("print('ready', flush=True)", "time.sleep(60)")


def measured_side(name, seconds=0.0, step=None):
    code = MEASURED.format(scripts=str(SCRIPTS), step=step or f"time.sleep({seconds})")
    return Side(name, [sys.executable, "-c", code])


def side_with(*speeds):
    return Side("any", [], turns=[Turn([8 / speed / 2] * 2, rows=8, processor_seconds=4 / speed) for speed in speeds])


def wait_until(is_so):
    deadline = time.monotonic() + 20
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()


def has_state(process, state):
    return lambda: psutil.Process(process).status() == state


def test_figures_are_those_of_the_median_turn_with_the_spread_of_all():
    assert turns.figure(side_with(10.0, 30.0, 20.0), turns.rows_per_second) == {"median": 20, "min": 10, "max": 30}
    steps = Side("slow", [], turns=[Turn([0.1, 0.9, 0.2], 3), Turn([0.4, 0.4, 0.4], 3)])
    assert turns.figure(steps, turns.milliseconds) == {"median": 300, "min": 200, "max": 400}


@pytest.mark.parametrize("measure", [turns.rows_per_second, turns.rows_per_processor_second])
def test_a_ratio_is_formed_turn_by_turn(measure):
    # The machine was half as fast in the second turn, for both sides.
    ratio = turns.ratio(side_with(40.0, 20.0, 44.0), side_with(10.0, 5.0, 10.0), measure)
    assert ratio == {"median": 4.0, "min": 4.0, "max": 4.4}


def test_sides_take_turns_and_stand_still_in_the_others():
    with measured_side("slow", 0.1) as slow, measured_side("fast", 0.02) as fast:
        alternate([slow, fast], repeats=2, seconds=0.2)
        assert all(wait_until(has_state(side._process.pid, psutil.STATUS_STOPPED)) for side in (slow, fast))
    assert [len(side.turns) for side in (slow, fast)] == [2, 2]
    assert all(turn.rows == 8 * len(turn.seconds) for turn in (*slow.turns, *fast.turns))
    # A sleep may last longer than it was asked to, and never less long.
    assert min(seconds for turn in slow.turns for seconds in turn.seconds) >= 0.1
    assert fast.facts == {"format": "best"}
    assert fast.seconds_to_first_step >= 0.02
    assert slow.peak_bytes > 2**20
    assert not psutil.pid_exists(slow._process.pid)


def test_processor_time_is_what_was_computed_and_not_slept():
    busy = measured_side("busy", step="end = time.process_time() + 0.1\n    while time.process_time() < end: pass")
    with busy, measured_side("asleep", 0.1) as asleep:
        worked, slept = busy.take_turn(4), asleep.take_turn(4)
    assert worked.processor_seconds >= 0.4 - 1 / os.sysconf("SC_CLK_TCK")
    assert slept.processor_seconds < 0.2


def test_turns_go_forwards_and_backwards():
    order = []

    class Recorded(Side):
        def take_turn(self, steps):
            order.append((self.name, steps))
            self.turns.append(Turn([0.5] * steps, 8 * steps))
            return self.turns[-1]

    alternate([Recorded("a", []), Recorded("b", [])], repeats=2, seconds=1.0)
    assert order == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("b", 2), ("a", 2)]


def test_a_side_that_ends_says_what_it_printed():
    with pytest.raises(RuntimeError, match=r"(?s)broken: the measured process ended with 1.*ZeroDivisionError"):
        Side("broken", [sys.executable, "-c", "1 / 0"]).__enter__()
    with pytest.raises(RuntimeError, match="ended with 137"):
        run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    seconds, printed = run([sys.executable, "-c", "import os; print(os.environ['NAME'])"], {"NAME": "here"})
    assert printed == "here\n"
    assert seconds > 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_however_the_benchmark_ends_its_children_end(number):
    start = "import subprocess; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    code = MEASURED.format(scripts=str(SCRIPTS), step="time.sleep(0.01)").replace("clock = ", f"{start}\nclock = ")
    command = [sys.executable, "-c", PARENT.format(scripts=str(SCRIPTS), code=code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        children = [int(word) for word in parent.stdout.readline().split()]
        assert len(children) == 2
        assert all(map(psutil.pid_exists, children))  # stopped, as between two turns
        parent.send_signal(number)
        parent.wait(20)
    assert parent.returncode != 0
    assert wait_until(lambda: not any(map(psutil.pid_exists, children)))


@pytest.mark.parametrize("processes", [1, 3])
def test_pages_that_processes_share_count_once(processes):
    held = 100 * 2**20
    fork = f"[os.getpid() == parent and os.fork() for _ in range({processes - 1})]"
    code = ("import os, time", f"held = b'x' * {held}", "parent = os.getpid()", fork, *WAITING)
    with Guarded([sys.executable, "-c", "\n".join(code)]) as process:
        assert wait_until(lambda: process.printed().count("ready") == processes)
        assert len(processes_of_tree(process.pid)) == processes
        assert held < peak_memory_of_tree(process.pid) < 1.5 * held


def test_what_a_process_gave_back_counts_to_its_peak():
    held = 100 * 2**20
    code = ("import time", f"held = b'x' * {held}", "del held", *WAITING)
    with Guarded([sys.executable, "-c", "\n".join(code)]) as process:
        assert wait_until(lambda: "ready" in process.printed())
        assert held < peak_memory_of_tree(process.pid) < 1.5 * held
        assert memory_of_tree(process.pid) < 0.5 * held
        forget_peaks(process.pid)
        assert peak_memory_of_tree(process.pid) < 0.5 * held


def test_pages_of_a_mapped_file_are_the_systems(tmp_path):
    size = 100 * 2**20
    (tmp_path / "data").write_bytes(bytes(size))
    code = (
        "import mmap, time",
        f"file = open({str(tmp_path / 'data')!r}, 'rb')",
        "mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)",
        f"total = sum(mapped[place] for place in range(0, {size}, 4096))",
        *WAITING,
    )
    with Guarded([sys.executable, "-c", "\n".join(code)]) as process:
        assert wait_until(lambda: "ready" in process.printed())
        assert peak_memory_of_tree(process.pid) < 0.5 * size < memory_of_tree(process.pid, "Pss:")
