"""Real processes of Python that have the package imported already.

Each is forked from a server that has imported it (the standard library's), which takes milliseconds where a start of
Python takes seconds. Not for a test of the start itself, nor of a variable that an import reads, as `HF_HOME`.
"""

import atexit
import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import pkgutil
import random
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import semart_hf

ENVIRONMENT = dict(os.environ)  # before any test changes it
PROCESSES = multiprocessing.get_context("forkserver")
MODULES = (module.name for module in pkgutil.walk_packages(semart_hf.__path__, "semart_hf."))
PROCESSES.set_forkserver_preload(["transformers.trainer", *MODULES])


def _python(words, environment, folder, output, errors):
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # the system's: of a data loader's workers
    for number, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    kind, name = (words[0], words[1]) if words[0] in ("-c", "-m") else ("", words[0])
    sys.argv = [name, *words[2 if kind else 1 :]]
    try:
        if kind == "-c":
            exec(compile(name, "<string>", "exec"), {"__name__": "__main__"})
        elif kind == "-m":
            sys.modules.pop(name, None)
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(name, run_name="__main__")
    finally:
        atexit._run_exitfuncs()


class Python:
    """A running process, the leader of its group. Its output and its errors go to files, or to one.

    Example:
        >>> process = Python("-m", "semart_hf.cli.train", recipe, output=tmp_path / "log")
        >>> process.wait(timeout=60)
        0
    """

    def __init__(self, *words, output, errors=None, folder=".", **variables):
        errors = errors or output
        environment = {**ENVIRONMENT, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **variables}
        settings = (list(map(str, words)), environment, str(folder), str(output), str(errors))
        with mock.patch.dict(os.environ, {**ENVIRONMENT, "HF_HUB_OFFLINE": "1"}, clear=True):
            multiprocessing.forkserver.ensure_running()
        self.output, self.errors = Path(output), Path(errors)
        self.process = PROCESSES.Process(target=_python, args=settings)
        self.process.start()
        self.pid = self.process.pid
        with contextlib.suppress(ProcessLookupError):  # it has ended
            while self.poll() is None and os.getpgid(self.pid) != self.pid:  # a signal would reach nobody yet
                time.sleep(0.001)

    def poll(self):
        return self.process.exitcode

    def wait(self, timeout=300):
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.signal(signal.SIGKILL)
            raise subprocess.TimeoutExpired(str(self.pid), timeout, self.errors.read_text()[-3000:])
        return self.process.exitcode

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait_until(self, holds, timeout=200):
        """Until something holds; the process may not end before."""
        deadline = time.monotonic() + timeout
        while not holds():
            if self.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self.errors.read_text()[-3000:])
            time.sleep(0.005)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.signal(signal.SIGKILL)
        self.process.join()


def free_port():
    """A port of 127.0.0.1, below those that the system gives to connections: none takes it before it is used."""
    for port in random.sample(range(20_000, 32_000), 1000):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


def launched(num_processes):
    if num_processes == 1:
        return [{}]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(num_processes)}
    return [{**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_processes)]


def run_python(*words, logs, num_processes=1, timeout=300, returncode=0, **settings):
    """What `subprocess.run` returns, of one process or of those of a launcher; it ends with `returncode`."""
    logs.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                Python(*words, output=logs / f"{n}.out", errors=logs / f"{n}.err", **{**settings, **variables})
            )
            for n, variables in enumerate(launched(num_processes))
        ]
        codes = [process.wait(timeout) for process in processes]
    outputs = ["".join(path.read_text() for path in sorted(logs.glob(f"*.{end}"))) for end in ("out", "err")]
    done = subprocess.CompletedProcess(words, next(filter(None, codes), 0), *outputs)
    assert done.returncode == returncode, done.stderr[-3000:]
    return done
