"""The Hub's HTTP API on 127.0.0.1, for the real `huggingface_hub` client to talk to.

Written from the client's own source (huggingface_hub 2.4): hf_api.py for the addresses and the fields that it reads,
_commit_api.py and lfs.py for uploads, file_download.py and utils/_http.py for redirects, headers and error codes.
What that source leaves to the Hub (which files are large, what a card may say) is made up and says so. Models,
datasets and Spaces; no Xet storage, whose protocol is not in the client's source: run clients with
HF_HUB_DISABLE_XET=1. Contents and commits are kept on disk, see loopback_store.

As on the Hub, large files live on another host, reached by signed addresses and never with a token; here it is another
port, and it refuses requests that carry one.
"""

import hashlib
import hmac
import re
import secrets
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from loopback_calls import Answer, Call, User, error_answer
from loopback_files import storage
from loopback_routes import route
from loopback_store import HubError, Repository, Store


@dataclass
class Fault:
    """Something that goes wrong with the next `times` requests that fit.

    Args:
        method: A regular expression for the whole method.
        path: A regular expression to find in the address.
        times: How many requests it meets.
        status: Answer with this instead.
        headers: Headers of that answer, or headers to replace in the real one.
        reset_upload_after: Read so many bytes of the request's body, then reset the connection.
        cut_answer_after: Send so many bytes of the answer's body, then end the connection.
        reset: End it by a reset.
        spoil: Change the second half of the answer's body, not its length.
        lose_answer: Do what is asked, then reset the connection instead of answering.
        before: Call this first.
        happened: To how many requests it did.
    """

    method: str
    path: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    reset_upload_after: int | None = None
    cut_answer_after: int | None = None
    reset: bool = False
    spoil: bool = False
    lose_answer: bool = False
    before: Callable[[], None] | None = None
    happened: int = 0


@dataclass(frozen=True)
class Request:
    """A request that was answered, or cut off (`status` 0)."""

    server: str
    method: str
    path: str
    status: int
    user: str | None
    range: str | None


class LoopbackHub:
    """A running Hub.

    Args:
        folder: Where it keeps what it is given.
        users: Who each token stands for.
        page_size: Entries that a listing gives at once.
        part_size: Large files above this many bytes are uploaded in parts.
    """

    def __init__(self, folder: Path, users: dict[str, User], *, page_size: int = 1000, part_size: int = 2**40) -> None:
        self.store = Store(folder)
        self.users = users
        self.page_size, self.part_size = page_size, part_size
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.crashes: list[str] = []  # tracebacks of the Hub's own mistakes
        self.admitted: set[tuple[str, str]] = set()  # (repository, user) that a gated repository lets in
        self.parts: dict[tuple[str, int], bytes] = {}
        self.secret = secrets.token_bytes(16)
        self.lock = threading.Lock()
        self.servers = {name: _Server(name, self) for name in ("hub", "storage")}
        self.url, self.storage_url = (f"http://127.0.0.1:{self.servers[name].server_port}" for name in self.servers)

    def __enter__(self) -> "LoopbackHub":
        for server in self.servers.values():
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.shutdown()
            server.server_close()

    @contextmanager
    def fault(self, *faults: Fault) -> Iterator[None]:
        """Within this, the faults happen, and each must have happened at its end."""
        self.faults.extend(faults)
        try:
            yield
            idle = [fault for fault in faults if not fault.happened]
            if idle:
                raise AssertionError(f"These faults never happened: {idle}")
        finally:
            self.faults = [fault for fault in self.faults if all(fault is not own for own in faults)]

    def repository(self, repo_id: str, kind: str = "models") -> Repository:
        repository = self.store.find(kind, repo_id)
        if repository is None:
            raise KeyError(f"no {kind} {repo_id}")
        return repository

    def files(self, repo_id: str, revision: str = "main", kind: str = "models") -> dict[str, bytes]:
        """Contents by path, as a commit has them."""
        files = self.repository(repo_id, kind).commit(revision).files
        return {path: self.store.content(file.sha256).read_bytes() for path, file in files.items()}

    def signed(self, path: str) -> str:
        """The address under which the storage host does what it is asked."""
        return self.signed_as(path, hmac.new(self.secret, path.encode(), hashlib.sha256).hexdigest()[:32])

    def signed_as(self, path: str, signature: str) -> str:
        return f"{self.storage_url}{path}?signature={signature}"

    def next_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                fits = re.fullmatch(fault.method, method) and re.search(fault.path, path)
                if fits and fault.happened < fault.times:
                    fault.happened += 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name: str, hub: LoopbackHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name, self.hub = name, hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.hub.crashes.append(traceback.format_exc())


class _CutError(Exception):
    """The connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are kept, not printed."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, _CutError):
            self.close_connection = True

    def do_GET(self) -> None:
        hub, address = self.server.hub, urlsplit(self.path)
        fault = hub.next_fault(self.command, self.path)
        user, answer = None, Answer(0)
        try:
            body = self._read_body(fault)
            if fault is not None and fault.before is not None:
                fault.before()
            if fault is not None and fault.status is not None:
                answer = Answer(fault.status, b'{"error": "The server made a fault"}', fault.headers)
            else:
                try:
                    user = self._user()
                    query = parse_qs(address.query, keep_blank_values=True)
                    call = Call(hub, self.command, address.path, query, user, self.headers, body)
                    answer = route(call) if self.server.name == "hub" else storage(call)
                except HubError as error:
                    answer = error_answer(error)
                if fault is not None:
                    answer.headers.update(fault.headers)
            self._send(answer, fault)
        finally:
            name = None if user is None else user.name
            hub.requests.append(
                Request(self.server.name, self.command, address.path, answer.status, name, self.headers.get("Range"))
            )

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _user(self) -> User | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not token:
            return None
        if self.server.name == "storage":
            raise HubError(400, "Only one auth mechanism allowed: a signed address needs no token")
        if token not in self.server.hub.users:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.server.hub.users[token]

    def _read_body(self, fault: Fault | None) -> bytes:
        limit = None if fault is None else fault.reset_upload_after
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length if limit is None else min(length, limit))
            if limit is not None:
                self._reset()
            return body
        chunks: list[bytes] = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
            if limit is not None and sum(map(len, chunks)) >= limit:
                self._reset()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        if fault is not None and fault.lose_answer:
            self._reset()
        body = answer.body
        if fault is not None and fault.spoil and body:
            middle = len(body) // 2
            body = body[:middle] + bytes(byte ^ 0x55 for byte in body[middle:])
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.cut_answer_after is not None:
            self.wfile.write(body[: fault.cut_answer_after])
            if fault.reset:
                time.sleep(0.05)  # a reset overtakes what is on its way
                self._reset()
            raise _CutError
        self.wfile.write(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise _CutError
