"""A Python interpreter of its own that talks to the Hub on loopback and runs what a test tells it.

`HF_ENDPOINT`, `HF_HOME` and `HF_HUB_OFFLINE` are read when huggingface_hub is imported, and what is loaded once stays
loaded: a person on another machine can only be played by another process. Starting one costs seconds, so that one
process serves several checks.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

_LOOP = """
import json, os, sys, traceback

for name in json.loads(sys.argv[2]):
    sys.modules[name] = None  # as if it were not installed
namespace = {}
with os.fdopen(int(sys.argv[1]), "w") as answers:
    for line in sys.stdin:
        order = json.loads(line)
        namespace.update(order["values"], result=None)
        try:
            exec(compile(order["source"], "<test>", "exec"), namespace)
            answer = {"result": namespace["result"]}
        except BaseException as error:
            names = [kind.__name__ for kind in type(error).__mro__]
            answer = {"error": names, "message": str(error), "traceback": traceback.format_exc()}
        sys.stdout.flush()
        answers.write(json.dumps(answer) + "\\n")
        answers.flush()
"""


class ClientError(Exception):
    """What was raised in the other process: names of its class and bases, its text, and its traceback."""

    def __init__(self, names: list[str], message: str, traceback: str) -> None:
        super().__init__(f"{names[0]}: {message}\n{traceback}")
        self.names, self.message = names, message


class Client:
    """A running interpreter, whose cache and `printed.txt` are in its home; `hidden` packages are not installed."""

    def __init__(self, home: Path, endpoint: str, token: str = "", *, offline: bool = False, hidden: Any = ()) -> None:
        self.home, self.printed = home, home / "printed.txt"
        variables = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "TMPDIR") if name in os.environ}
        variables |= {
            "HOME": str(home),
            "HF_HOME": str(home / "huggingface"),
            "HF_ENDPOINT": endpoint,
            "HF_HUB_DISABLE_XET": "1",  # the Hub on loopback has no Xet storage
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": str(int(offline)),
            "HF_TOKEN": token,
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "TOKENIZERS_PARALLELISM": "false",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        reader, writer = os.pipe()
        with self.printed.open("a") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _LOOP, str(writer), json.dumps(hidden)],
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=subprocess.STDOUT,
                cwd=home,
                env=variables,
                pass_fds=(writer,),
                text=True,
            )
        os.close(writer)
        self.answers = os.fdopen(reader)

    def run(self, source: str, **values: Any) -> Any:
        """What the source assigns to `result`, given the values; a `ClientError` if it raises. Names live on."""
        self.start(source, **values)
        return self.finish()

    def start(self, source: str, **values: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"source": textwrap.dedent(source), "values": values}) + "\n")
        self.process.stdin.flush()

    def finish(self) -> Any:
        line = self.answers.readline()
        if not line:
            raise RuntimeError(f"The interpreter ended ({self.process.wait()}):\n{self.printed.read_text()[-4000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise ClientError(answer["error"], answer["message"], answer["traceback"])
        return answer["result"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.answers.close()
