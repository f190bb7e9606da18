"""The repositories of the Hub on loopback, and what it answers to each address."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote

API = r"/api/(?P<kind>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
GIT = r"/(?:(?P<kind>datasets|spaces)/)?(?P<repo>[^/]+/[^/]+)"
REVISION = r"(?P<revision>[^/]+)"
LARGE_NAMES = (".bin", ".parquet", ".pt", ".pth", ".safetensors")  # the Hub's own rule is not in the client's source


class HubError(Exception):
    """An answer other than success, as the Hub gives it: status, `X-Error-Message` and `X-Error-Code`."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.headers = status, {"X-Error-Message": message, "X-Error-Code": code}


@dataclass(frozen=True)
class File:
    content: bytes
    is_large: bool

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass(frozen=True)
class Commit:
    id: str
    title: str
    files: dict[str, File]


@dataclass
class Repository:
    id: str
    private: bool
    sdk: str | None
    commits: list[Commit] = field(default_factory=list)  # oldest first

    def commit(self, revision: str = "main") -> Commit:
        """The commit that `main` or (the beginning of) an id stands for."""
        for commit in reversed(self.commits):
            if revision == "main" or (len(revision) >= 7 and commit.id.startswith(revision)):
                return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def add_commit(self, title: str, files: dict[str, File]) -> Commit:
        name = hashlib.sha1(f"{self.id} {len(self.commits)} {title}".encode()).hexdigest()
        self.commits.append(Commit(name, title, dict(sorted(files.items()))))
        return self.commits[-1]


@dataclass(frozen=True)
class Call:
    """A request, with the parts of its address that its route names."""

    hub: Any  # the LoopbackHub
    method: str
    path: str
    query: dict[str, list[str]]
    token: str
    headers: Any
    body: bytes
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def user(self) -> str | None:
        if self.token and self.token not in self.hub.users:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.hub.users.get(self.token)

    def json(self) -> Any:
        return json.loads(self.body)

    def reader(self) -> Repository:
        repository = self.hub.repositories.get((self.parts.get("kind", "models"), self.parts["repo"]))
        if repository is None or (repository.private and self.user != repository.id.split("/")[0]):
            # The Hub does not tell whether a repository is not there or not for you.
            raise HubError(404 if self.user else 401, "Repository not found", "RepoNotFound")
        return repository

    def writer(self) -> Repository:
        self.check_namespace(self.parts["repo"].split("/")[0])
        return self.reader()

    def check_namespace(self, namespace: str) -> None:
        if namespace != self.user:
            raise HubError(403 if self.user else 401, f"You don't have the rights to write under {namespace!r}")


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def range_answer(content: bytes, asked: str | None, headers: dict[str, str]) -> Answer:
    """The content, or the part of it that a `Range` header asks for."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
    if match is None:
        return Answer(200, content, {"Accept-Ranges": "bytes", **headers})
    start, stop = int(match[1]), min(int(match[2] or len(content)) + 1, len(content))
    if start >= stop:
        return Answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
    return Answer(206, content[start:stop], {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})


def whoami(call: Call) -> Answer:
    if call.user is None:
        raise HubError(401, "Invalid username or password.")
    return json_answer({"type": "user", "name": call.user, "orgs": []})


def create_repository(call: Call) -> Answer:
    fields = call.json()
    kind, namespace = f"{fields.get('type') or 'model'}s", fields.get("organization") or call.user
    call.check_namespace(namespace)
    repo_id = f"{namespace}/{fields['name']}"
    answer = {"url": call.hub.address(kind, repo_id), "name": repo_id}
    with call.hub.lock:
        if (kind, repo_id) in call.hub.repositories:
            return json_answer({"error": "You already created this repo", **answer}, 409)
        private = fields.get("visibility") == "private" or bool(fields.get("private"))
        made = call.hub.repositories[kind, repo_id] = Repository(repo_id, private, fields.get("sdk"))
        attributes = "".join(f"*{name} filter=lfs diff=lfs merge=lfs -text\n" for name in LARGE_NAMES)
        made.add_commit("initial commit", {".gitattributes": File(attributes.encode(), is_large=False)})
    return json_answer(answer)


def information(call: Call) -> Answer:
    repository = call.reader()
    commit = repository.commit(unquote(call.parts.get("revision", "main")))
    facts = {"id": repository.id, "sha": commit.id, "private": repository.private, "sdk": repository.sdk}
    files = [{"rfilename": path} for path in commit.files]
    return json_answer({**facts, "_id": "0" * 24, "downloads": 0, "likes": 0, "tags": [], "siblings": files})


def tree(call: Call) -> Answer:
    files = call.reader().commit(unquote(call.parts["revision"])).files
    folder = unquote(call.parts["path"]) + "/" if "path" in call.parts else ""
    below = {path: file for path, file in files.items() if path.startswith(folder)}
    if not below:
        raise HubError(404, f"{folder} does not exist on this revision", "EntryNotFound")
    names = {"/".join(path.split("/")[:depth]) for path in below for depth in range(1, path.count("/") + 1)}
    entries = [_folder(name) for name in sorted(names) if name.startswith(folder)]
    entries += [_file(path, file) for path, file in below.items()]
    if call.query.get("recursive", [""])[-1].lower() != "true":
        entries = [entry for entry in entries if "/" not in entry["path"][len(folder) :]]
    return json_answer(entries)


def paths_information(call: Call) -> Answer:
    files = call.reader().commit(unquote(call.parts["revision"])).files
    paths = parse_qs(call.body.decode()).get("paths", [])
    folders = [_folder(path) for path in paths if any(name.startswith(f"{path}/") for name in files)]
    return json_answer([_file(path, files[path]) for path in paths if path in files] + folders)


def _file(path: str, file: File) -> dict[str, Any]:
    size = len(file.content)
    entry = {"type": "file", "path": path, "size": size, "oid": file.oid}
    return entry | ({"lfs": {"oid": file.sha256, "size": size, "pointerSize": 128}} if file.is_large else {})


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}


def choose_upload_modes(call: Call) -> Answer:
    """Which files are large, and what of each is there already."""
    there = call.writer().commit().files
    files = []
    for file in call.json()["files"]:
        path, is_large = file["path"], file["path"].endswith(LARGE_NAMES) or b"\0" in base64.b64decode(file["sample"])
        oid = None if path not in there else there[path].sha256 if is_large else there[path].oid
        files.append({"path": path, "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False, "oid": oid})
    return json_answer({"files": files})


def give_upload_addresses(call: Call) -> Answer:
    """git-lfs's batch request: nothing to do for what is there, else addresses."""
    call.writer()
    objects = call.json()["objects"]
    for entry in objects:
        if entry["oid"] not in call.hub.uploads:
            entry["actions"] = {"upload": {"href": f"{call.hub.storage_url}/uploads/{entry['oid']}", "header": {}}}
    return json_answer({"transfer": "basic", "objects": objects})


def upload(call: Call) -> Answer:
    if File(call.body, is_large=True).sha256 != call.parts["oid"]:
        raise HubError(400, "The content's sha256 is another", "XAmzContentSHA256Mismatch")
    call.hub.uploads[call.parts["oid"]] = call.body
    return Answer()


def download(call: Call) -> Answer:
    oid = call.parts["oid"]
    return range_answer(call.hub.uploads[oid], call.headers.get("Range"), {"ETag": f'"{oid}"'})


def commit(call: Call) -> Answer:
    """The new head, with all operations or with none."""
    operations = [json.loads(line) for line in call.body.splitlines()]
    header = next(one["value"] for one in operations if one["key"] == "header")
    with call.hub.lock:
        repository = call.writer()
        head = repository.commit()
        if header.get("parentCommit") and repository.commit(header["parentCommit"]) != head:
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for key, value in ((one["key"], one["value"]) for one in operations):
            if key == "file":
                files[value["path"]] = File(base64.b64decode(value["content"]), is_large=False)
            elif key == "lfsFile":
                files[value["path"]] = File(call.hub.uploads[value["oid"]], is_large=True)
            elif key == "deletedFile":
                del files[value["path"]]
            elif key != "header":
                raise HubError(400, f"Unknown operation: {key}")
        made = repository.add_commit(header["summary"], files)
    address = f"{call.hub.address(call.parts.get('kind', 'models'), repository.id)}/commit/{made.id}"
    return json_answer({"success": True, "commitOid": made.id, "commitUrl": address})


def resolve(call: Call) -> Answer:
    found, path = call.reader().commit(unquote(call.parts["revision"])), unquote(call.parts["path"])
    headers = {"X-Repo-Commit": found.id}
    if path not in found.files:
        error = HubError(404, "Entry not found", "EntryNotFound")
        return Answer(404, b"", {**error.headers, **headers})
    file = found.files[path]
    if not file.is_large:
        return range_answer(file.content, call.headers.get("Range"), {**headers, "ETag": f'"{file.oid}"'})
    location = f"{call.hub.storage_url}/contents/{file.sha256}"
    linked = {"X-Linked-Size": str(len(file.content)), "X-Linked-Etag": f'"{file.sha256}"', "Location": location}
    return Answer(302, b"", {**headers, **linked})


ROUTES: list[tuple[str, str, Callable[[Call], Answer]]] = [
    ("GET", r"/api/whoami-v2", whoami),
    ("POST", r"/api/repos/create", create_repository),
    ("POST", r"/api/validate-yaml", lambda call: json_answer({"errors": [], "warnings": []})),
    ("GET", rf"{API}(?:/revision/{REVISION})?", information),
    ("GET", rf"{API}/tree/{REVISION}(?:/(?P<path>.+))?", tree),
    ("POST", rf"{API}/paths-info/{REVISION}", paths_information),
    ("POST", rf"{API}/preupload/main", choose_upload_modes),
    ("POST", rf"{API}/commit/main", commit),
    ("POST", rf"{GIT}\.git/info/lfs/objects/batch", give_upload_addresses),
    ("PUT", r"/uploads/(?P<oid>[0-9a-f]{64})", upload),
    ("GET", r"/contents/(?P<oid>[0-9a-f]{64})", download),
    ("GET", rf"{GIT}/resolve/{REVISION}/(?P<path>.+)", resolve),
]


def route(call: Call) -> Answer:
    method = "GET" if call.method == "HEAD" else call.method
    for expected, pattern, answer in ROUTES:
        match = re.fullmatch(pattern, call.path)
        if expected == method and match is not None:
            call.parts.update({name: value for name, value in match.groupdict().items() if value is not None})
            return answer(call)
    raise HubError(404, f"The Hub on loopback knows no {call.method} {call.path}")
