"""A request to the Hub on loopback, what its sender may do, and the forms of an answer."""

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from loopback_store import HubError, Repository

if TYPE_CHECKING:
    from loopback_hub import LoopbackHub


@dataclass(frozen=True)
class User:
    """Who a token stands for.

    Args:
        name: Also the namespace where the user may write.
        role: `read` tokens write nowhere.
    """

    name: str
    role: str = "write"


@dataclass(frozen=True)
class Call:
    """A request, with the parts of its address that its route names."""

    hub: "LoopbackHub"
    method: str
    path: str
    query: dict[str, list[str]]
    user: User | None
    headers: Any
    body: bytes
    parts: dict[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")

    def parameter(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[-1]

    @property
    def kind(self) -> str:
        return self.parts.get("kind") or "models"

    def part(self, name: str) -> str:
        return unquote(self.parts[name])

    def reader(self) -> Repository:
        """The repository of the address, if the user may see it."""
        repository = self.hub.store.find(self.kind, self.parts["repo"])
        mine = self.user is not None and repository is not None and self.user.name == repository.owner
        if repository is None or (repository.private and not mine):
            # The Hub does not tell whether a repository is not there or not for you.
            if self.user is None:
                raise HubError(401, "Invalid username or password.", "RepoNotFound")
            raise HubError(404, "Repository not found", "RepoNotFound")
        return repository

    def file_reader(self) -> Repository:
        """The repository of the address, if the user may also have its files."""
        repository = self.reader()
        name = None if self.user is None else self.user.name
        if repository.gated and name != repository.owner and (repository.id, name) not in self.hub.admitted:
            message = f"Access to {self.kind[:-1]} {repository.id} is restricted."
            raise HubError(401 if name is None else 403, message, "GatedRepo")
        return repository

    def writer(self) -> Repository:
        """The repository of the address, if the user may write there."""
        repository = self.reader()
        self.check_namespace(repository.owner)
        return repository

    def check_namespace(self, namespace: str) -> str:
        if self.user is None:
            raise HubError(401, "Invalid username or password.")
        if self.user.role != "write":
            raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
        if namespace != self.user.name:
            raise HubError(403, f"You don't have the rights to create or write under the namespace {namespace!r}")
        return self.user.name


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def error_answer(error: HubError) -> Answer:
    headers = {**error.headers, "X-Error-Message": error.message}
    if error.code is not None:
        headers["X-Error-Code"] = error.code
    return json_answer({"error": error.message}, error.status, headers)


def range_answer(content: bytes, asked: str | None, headers: dict[str, str]) -> Answer:
    """The content, or the part of it that a `Range` header asks for."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
    if match is None or not any(match.groups()):
        return Answer(200, content, headers)
    first, last = match.groups()
    start = int(first) if first else max(len(content) - int(last), 0)
    stop = min(int(last) + 1, len(content)) if first and last else len(content)
    if start >= stop:
        return Answer(416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"})
    return Answer(206, content[start:stop], {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})
