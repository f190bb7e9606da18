import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from benchmarks import turns
from benchmarks.turns import Guarded, Side, Turn, alternate

SCRIPTS = Path(__file__).parents[2] / "scripts"
MEASURED = """
import sys, time
sys.path.append({scripts!r})
from benchmarks.turns import Clock
clock = Clock()
while True:
    time.sleep({seconds})
    clock.tick(rows=8)
"""
# Starts a side with a process of its own, prints the numbers of both, and waits.
PARENT = """
import sys, time
sys.path.append({scripts!r})
from benchmarks.turns import raise_on_termination
from benchmarks.turns import Side
raise_on_termination()
with Side("child", [sys.executable, "-c", {code!r}]) as side:
    print(*(process.pid for process in side.processes()), flush=True)
    time.sleep(60)
"""
HELD = 100 * 2**20


def measured_side(name, seconds=0.0):
    return Side(name, [sys.executable, "-c", MEASURED.format(scripts=str(SCRIPTS), seconds=seconds)])


def side_with(*turns):
    side = Side("any", [])
    side.turns = [Turn(*turn) for turn in turns]
    return side


def wait_until(is_so):
    deadline = time.monotonic() + 20
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()


def test_sides_take_turns_and_stand_still_in_the_others():
    with measured_side("slow", 0.1) as slow, measured_side("fast", 0.02) as fast:
        alternate([slow, fast], repeats=2, seconds=0.2)
        for side in (slow, fast):
            process = psutil.Process(side.process.pid)
            assert wait_until(lambda process=process: process.status() == psutil.STATUS_STOPPED)
    assert [len(side.turns) for side in (slow, fast)] == [2, 2]
    assert all(turn.rows == 8 * len(turn.seconds) for turn in (*slow.turns, *fast.turns))
    # A sleep may last longer than it was asked to, and never less long.
    assert min(seconds for turn in slow.turns for seconds in turn.seconds) >= 0.1
    assert fast.seconds_to_first_step >= 0.02
    assert slow.peak_bytes > 2**20
    assert not psutil.pid_exists(slow.process.pid)


def test_turns_go_forwards_and_backwards_and_figures_are_those_of_the_median_one():
    order = []

    class Recorded(Side):
        def take_turn(self, steps):
            order.append((self.name, steps))
            self.turns.append(Turn([0.5] * steps, 8 * steps))
            return self.turns[-1]

    alternate([Recorded("a", []), Recorded("b", [])], repeats=2, seconds=1.0)
    assert order == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("b", 2), ("a", 2)]
    sides = side_with(([0.4, 0.4], 8), ([0.2, 0.2], 12), ([0.1, 0.3], 8))
    assert turns.figure(sides, turns.rows_per_second) == {"median": 20, "min": 10, "max": 30}
    steps = side_with(([0.1, 0.9, 0.2], 3), ([0.4, 0.4, 0.4], 3))
    assert turns.figure(steps, turns.milliseconds) == {"median": 300, "min": 200, "max": 400}
    # The machine was half as fast in the second turn, for both sides.
    fast, slow = side_with(([1], 40), ([1], 20), ([1], 44)), side_with(([1], 10), ([1], 5), ([1], 10))
    assert turns.figure(fast, turns.rows_per_second, slow) == {"median": 4.0, "min": 4.0, "max": 4.4}


def test_busy_processes_run_in_every_second_turn():
    states = []

    class Watched(Side):
        def take_turn(self, steps):
            busy = [one for one in psutil.Process().children() if one.cmdline()[-1:] == ["while True: pass"]]
            is_stopped = len(states) % 2 == 0
            assert wait_until(lambda: all((one.status() == "stopped") == is_stopped for one in busy))
            states.append(len(busy))
            self.turns.append(Turn([1.0] * steps, 8 if is_stopped else 2))
            return self.turns[-1]

    side = Watched("any", [])
    side.turns.append(Turn([1.0, 1.0], 8))
    assert turns.speed_beside([side], 2, repeats=3) == {"any": {"median": 0.25, "min": 0.25, "max": 0.25}}
    assert states == [2] * 6
    assert all(len(turn.seconds) == 2 for turn in side.turns)
    assert not [one for one in psutil.Process().children() if one.cmdline()[-1:] == ["while True: pass"]]


def test_a_side_that_ends_says_what_it_printed():
    with pytest.raises(RuntimeError, match=r"(?s)broken: the measured process ended with 1.*ZeroDivisionError"):
        Side("broken", [sys.executable, "-c", "1 / 0"]).__enter__()
    killed = Guarded([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    with killed, pytest.raises(RuntimeError, match="killed ended with -9"):
        killed.output("killed")
    with Guarded([sys.executable, "-c", "import os; print(os.environ['NAME'])"], {"NAME": "here"}) as guarded:
        assert guarded.output("printing") == "here\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_however_the_benchmark_ends_its_children_end(number):
    start = "import subprocess; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    code = MEASURED.format(scripts=str(SCRIPTS), seconds=0.01).replace("clock = ", f"{start}\nclock = ")
    command = [sys.executable, "-c", PARENT.format(scripts=str(SCRIPTS), code=code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        children = [int(word) for word in parent.stdout.readline().split()]
        assert len(children) == 2
        assert all(map(psutil.pid_exists, children))  # stopped, as between two turns
        parent.send_signal(number)
        parent.wait(20)
    assert parent.returncode != 0
    assert wait_until(lambda: not any(map(psutil.pid_exists, children)))


def test_memory_is_what_processes_hold_each_page_once_and_no_mapped_file(tmp_path):
    """Two processes share what is held; beside it a mapped file is read, and as much is given back."""
    (tmp_path / "data").write_bytes(bytes(HELD))
    code = f"""
import mmap, os, time
file = open({str(tmp_path / "data")!r})
mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
total = sum(mapped[place] for place in range(0, {HELD}, 4096))
held, given_back = b"x" * {HELD}, b"y" * {HELD}
del given_back
os.fork()
os.write(1, b"ready\\n")
time.sleep(60)
"""
    with Guarded([sys.executable, "-c", code]) as guarded:
        assert [guarded.process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        assert len(guarded.processes()) == 2
        assert HELD < guarded.memory() < 1.5 * HELD < 2 * HELD < psutil.Process(guarded.process.pid).memory_info().rss
        assert 2 * HELD < guarded.peak_memory() < 3 * HELD
        guarded.forget_peaks()
        assert guarded.peak_memory() < 1.5 * HELD
