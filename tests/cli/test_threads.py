"""The threads that a command computes with: all cores, where a launcher would give it one, and nobody chose one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from semart_hf.cli.command import cores

CHECKOUT = Path(__file__).resolve().parents[2]
ONE_PROCESS = CHECKOUT / "semart_hf" / "recipes" / "accelerate" / "one_process.yaml"
LOOK = """
from semart_hf.cli.command import command
@command("look")
def main(words=None):
    import os, torch
    print("found", torch.get_num_threads(), os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"])
if __name__ == "__main__":
    main()
"""
# As launchers do, and as a shell script does.
LAUNCHER = """
import os, subprocess, sys
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
subprocess.run([sys.executable, "-m", "semart_hf.cli.prepare", "--help"], check=True)
"""
several_cores = pytest.mark.skipif(cores() < 2, reason="one core has one thread")


def environment(**variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    return {**kept, "PYTHONPATH": str(CHECKOUT), **variables}


def printed(words, folder, **variables):
    command = [sys.executable, *map(str, words)]
    options = {"cwd": folder, "env": environment(**variables), "timeout": 120}
    return subprocess.run(command, **options, capture_output=True, text=True, check=True)


@several_cores
def test_a_launched_command_computes_with_all_cores(tmp_path):
    (tmp_path / "look.py").write_text(LOOK)
    words = ["-m", "accelerate.commands.launch", "--config_file", ONE_PROCESS, "look.py"]
    words.append("semart_hf.cli")  # the package takes it for one of its commands, before which torch is not imported
    done = printed(words, tmp_path)
    assert f"found {cores()} PASSIVE 1000" in done.stdout
    assert done.stderr.count(f"Threads: {cores()}, where the launcher's default is 1.") == 1


@several_cores
@pytest.mark.parametrize(
    ("launcher", "words", "variables", "threads"),
    [
        ("accelerate", [], {}, cores()),
        ("torchrun", ["--nproc_per_node", "1"], {}, cores()),
        ("accelerate", [], {"LOCAL_WORLD_SIZE": str(cores())}, None),  # a core for each process
        ("accelerate", [], {"LOCAL_RANK": "1"}, None),  # the first process says it
        ("accelerate", [], {"OMP_NUM_THREADS": "1"}, None),
        ("accelerate", ["--num_cpu_threads_per_process", "1"], {}, None),
        ("accelerate", ["--num-cpu-threads-per-process=1"], {}, None),
        ("start", [], {}, None),  # whoever wrote it wants one
    ],
)
def test_a_number_of_threads_that_somebody_chose_stays(tmp_path, launcher, words, variables, threads):
    (tmp_path / launcher).write_text(LAUNCHER)
    done = printed([launcher, *words], tmp_path, **variables)
    assert done.stdout.startswith("usage: semart-hf prepare")
    assert done.stderr.count("Threads: ") == (threads is not None)
    assert threads is None or f"Threads: {threads}, where" in done.stderr
