"""The application in a process of its own."""

import json
import socket
import urllib.request
from contextlib import contextmanager

from warm_python import Python, free_port


@contextmanager
def served(model, *words, log):
    port = free_port()
    command = ["-m", "semart_hf.cli", "app", "--model", model, "--port", port, *words]
    with Python(*command, output=log) as process:
        process.wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        yield f"http://127.0.0.1:{port}", process


def called(address, name, *values):
    """What a function of the API gives, by plain HTTP, as docs/suggestions.md has it."""
    place = f"{address}/gradio_api/call/{name}"
    body = json.dumps({"data": values}).encode()
    request = urllib.request.Request(place, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{place}/{event}") as answer:
        return json.loads(answer.read().decode().rpartition("data: ")[2])[0]
