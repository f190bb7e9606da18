"""The Hub's HTTP API on 127.0.0.1, as far as the real `huggingface_hub` client asks for it in these tests.

Written from the client's own source (huggingface_hub 2.4): hf_api.py for the addresses and the fields that it reads,
_commit_api.py and lfs.py for uploads, file_download.py and utils/_http.py for redirects, headers and error codes.
Repositories have one branch, and live in memory. No Xet storage, whose protocol is not in the client's source: run
clients with HF_HUB_DISABLE_XET=1.
"""

import re
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from loopback_routes import Answer, Call, HubError, Repository, route


@dataclass
class Fault:
    """Something that goes wrong with the next `times` requests that fit.

    Args:
        method: The method that fits.
        path: A regular expression to find in the address.
        status: Answer with this instead.
        headers: Headers of that answer, or headers to replace in the real one.
        cut_answer_after: Send so many bytes of the answer's body, then end the connection.
        lose_answer: Do what is asked, then reset the connection instead of answering.
        before: Call this first.
    """

    method: str
    path: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_answer_after: int | None = None
    lose_answer: bool = False
    before: Callable[[], None] | None = None
    happened: int = 0


class Request(NamedTuple):
    method: str
    path: str
    status: int
    range: str | None


class LoopbackHub:
    """A running Hub.

    Args:
        users: The name of the user that each token stands for, which is also the namespace where the user may write.
    """

    def __init__(self, users: dict[str, str]) -> None:
        self.users = users
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.uploads: dict[str, bytes] = {}  # contents of large files by their sha256
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.crashes: list[str] = []  # tracebacks of the Hub's own mistakes
        self.lock = threading.RLock()
        self.server = _Server(self)
        # As on the Hub, large files are on another host, where clients send no token.
        port = self.server.server_port
        self.url, self.storage_url = (f"http://{host}:{port}" for host in ("127.0.0.1", "localhost"))

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[None]:
        """Within this the fault happens, and it must have happened at the end."""
        self.faults.append(fault)
        try:
            yield
            assert fault.happened, f"This fault never happened: {fault}"
        finally:
            self.faults.remove(fault)

    def address(self, kind: str, repo_id: str) -> str:
        return f"{self.url}/{'' if kind == 'models' else kind + '/'}{repo_id}"

    def repository(self, repo_id: str, kind: str = "models") -> Repository:
        return self.repositories[kind, repo_id]

    def files(self, repo_id: str, kind: str = "models") -> dict[str, bytes]:
        return {path: file.content for path, file in self.repository(repo_id, kind).commit().files.items()}

    def next_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if method == fault.method and re.search(fault.path, path) and fault.happened < fault.times:
                    fault.happened += 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: LoopbackHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.hub.crashes.append(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *words: Any) -> None:
        """Nothing: requests are kept, not printed."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_GET(self) -> None:
        hub, address = self.server.hub, urlsplit(self.path)
        fault = hub.next_fault(self.command, self.path) or Fault("", "")
        answer = Answer(0)
        try:
            body = self._read_body()
            if fault.before is not None:
                fault.before()
            if fault.status is not None:
                answer = Answer(fault.status, b'{"error": "The server made a fault"}')
            else:
                query = parse_qs(address.query, keep_blank_values=True)
                token = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
                try:
                    answer = route(Call(hub, self.command, address.path, query, token, self.headers, body))
                except HubError as error:
                    answer = Answer(error.status, b'{"error": "see the headers"}', error.headers)
            answer.headers.update(fault.headers)
            self._send(answer, fault)
        finally:
            hub.requests.append(Request(self.command, address.path, answer.status, self.headers.get("Range")))

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks: list[bytes] = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, answer: Answer, fault: Fault) -> None:
        if fault.lose_answer:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            raise ConnectionAbortedError
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(answer.body[: fault.cut_answer_after])
        if fault.cut_answer_after is not None:
            raise ConnectionAbortedError
