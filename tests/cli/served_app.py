"""The application in a process of its own."""

import socket
from contextlib import contextmanager

from warm_python import Python, free_port


@contextmanager
def served(model, *words, log):
    """Address and process of the application that serves a model."""
    port = free_port()
    command = ["-m", "semart_hf.cli.app", "--model", model, "--port", port, *words]
    with Python(*command, output=log) as process:
        process.wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        yield f"http://127.0.0.1:{port}", process
