"""Repositories of the Hub on loopback: commits, refs and file contents in a folder.

models/painter/vermeer/repository.json    visibility, and the commit that each branch and tag points at
models/painter/vermeer/commits/<id>.json  what a commit holds, and its parent
contents/<sha256>                         every file that was ever committed
uploads/<sha256>                          large files that no commit names yet
"""

import fnmatch
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

KINDS = ("models", "datasets", "spaces")
LARGE_PATTERNS = (
    "*.arrow",
    "*.bin",
    "*.gz",
    "*.npz",
    "*.onnx",
    "*.parquet",
    "*.pt",
    "*.pth",
    "*.safetensors",
    "*.zip",
)
LARGE_SIZE = 10 * 1024**2


class HubError(Exception):
    """An answer other than success, as the Hub gives it: status, `X-Error-Code` and `X-Error-Message`."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class File:
    """One file of a commit.

    `oid` is git's name for it: of its content, or of the pointer that stands for a large file's content.
    """

    path: str
    size: int
    sha256: str
    oid: str
    is_large: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_large else self.oid


@dataclass(frozen=True)
class Commit:
    id: str
    parent: str | None
    title: str
    description: str
    author: str
    date: str
    files: dict[str, File]

    @classmethod
    def read(cls, path: Path) -> "Commit":
        fields = json.loads(path.read_text())
        return cls(**{**fields, "files": {name: File(**value) for name, value in fields["files"].items()}})


@dataclass
class Repository:
    kind: str
    id: str
    folder: Path
    created: str
    private: bool = False
    gated: bool = False
    sdk: str | None = None
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    def save(self) -> None:
        state = {name: value for name, value in asdict(self).items() if name != "folder"}
        _write(self.folder / "repository.json", json.dumps(state, indent=1).encode())

    def commit_id(self, revision: str) -> str:
        """The commit that a branch, a tag, a pull request or (the start of) a commit's own name stands for."""
        for names in (self.branches, self.tags):
            if revision in names:
                return names[revision]
        found = [path.stem for path in self.folder.glob("commits/*.json") if path.stem.startswith(revision)]
        if len(revision) >= 7 and len(found) == 1:
            return found[0]
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def commit(self, revision: str) -> Commit:
        return Commit.read(self.folder / "commits" / f"{self.commit_id(revision)}.json")

    def history(self, revision: str) -> Iterator[Commit]:
        name: str | None = self.commit_id(revision)
        while name is not None:
            commit = Commit.read(self.folder / "commits" / f"{name}.json")
            yield commit
            name = commit.parent

    def file(self, revision: str, path: str) -> tuple[Commit, File]:
        commit = self.commit(revision)
        if path not in commit.files:
            raise HubError(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit.id})
        return commit, commit.files[path]


class Store:
    """All repositories, in one folder; what it promises of a commit is that all of it happens or nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        for name in ("contents", "uploads"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def find(self, kind: str, repo_id: str) -> Repository | None:
        folder = self.folder / kind / repo_id
        if not (folder / "repository.json").is_file():
            return None
        return Repository(folder=folder, **json.loads((folder / "repository.json").read_text()))

    def create(self, kind: str, repo_id: str, *, author: str, private: bool, sdk: str | None) -> Repository:
        with self.lock:
            if self.find(kind, repo_id) is not None:
                raise HubError(409, f"You already created this {kind[:-1]} repo")
            repository = Repository(kind, repo_id, self.folder / kind / repo_id, _now(), private=private, sdk=sdk)
            attributes = "".join(f"{name} filter=lfs diff=lfs merge=lfs -text\n" for name in LARGE_PATTERNS)
            self._add_commit(
                repository,
                "main",
                None,
                [self.keep(".gitattributes", attributes.encode())],
                "initial commit",
                "",
                author,
            )
            return repository

    def delete(self, repository: Repository) -> None:
        with self.lock:
            shutil.rmtree(repository.folder)

    def upload_mode(self, path: str, size: int, sample: bytes) -> str:
        """`lfs` or `regular`; the client's source leaves the rule to the Hub, so that this one is made up."""
        by_name = any(fnmatch.fnmatch(path.rpartition("/")[2], pattern) for pattern in LARGE_PATTERNS)
        return "lfs" if by_name or b"\0" in sample or size > LARGE_SIZE else "regular"

    def content(self, sha256: str) -> Path:
        return self.folder / "contents" / sha256

    def upload(self, sha256: str) -> Path:
        return self.folder / "uploads" / sha256

    def has_large(self, sha256: str, size: int) -> bool:
        """Whether a large file was uploaded or committed whole."""
        paths = [path for path in (self.upload(sha256), self.content(sha256)) if path.is_file()]
        return any(path.stat().st_size == size for path in paths)

    def receive(self, sha256: str, content: bytes) -> None:
        """Keep an uploaded large file, if it is what its name says."""
        actual = hashlib.sha256(content).hexdigest()
        if actual != sha256:
            raise HubError(400, f"The content's sha256 is {actual}, not {sha256}", "XAmzContentSHA256Mismatch")
        _write(self.upload(sha256), content)

    def keep(self, path: str, content: bytes) -> File:
        """A regular file of a commit to come, its content kept."""
        sha256 = hashlib.sha256(content).hexdigest()
        _write(self.content(sha256), content)
        return File(path, len(content), sha256, _git_oid(content), is_large=False)

    def adopt(self, path: str, sha256: str, size: int | None) -> File:
        """A large file of a commit to come, from what was uploaded before."""
        source = self.content(sha256) if self.content(sha256).is_file() else self.upload(sha256)
        if not source.is_file() or (size is not None and source.stat().st_size != size):
            raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path} ({sha256})")
        if source != self.content(sha256):
            os.replace(source, self.content(sha256))
        actual = self.content(sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {actual}\n"
        return File(path, actual, sha256, _git_oid(pointer.encode()), is_large=True)

    def add_commit(
        self,
        repository: Repository,
        branch: str,
        *,
        title: str,
        description: str,
        author: str,
        expected_parent: str | None,
        additions: Iterable[File],
        deletions: Iterable[str],
        new_branch: str | None = None,
    ) -> Commit:
        """The new head of a branch.

        Args:
            repository: Where.
            branch: A branch's name.
            title: First line of the message.
            description: The rest.
            author: Who.
            expected_parent: The commit that the branch must still point at; `None`: whatever it points at.
            additions: Files that come or change.
            deletions: Paths that go; those of folders end in a slash.
            new_branch: Leave the branch, and let this new one point at the commit.
        """
        with self.lock:
            repository = self.find(repository.kind, repository.id) or repository
            if branch not in repository.branches:
                raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
            parent = repository.commit(branch)
            if expected_parent is not None and repository.commit_id(expected_parent) != parent.id:
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            files = dict(parent.files)
            for path in deletions:
                gone = [name for name in files if name == path or (path.endswith("/") and name.startswith(path))]
                if not gone:
                    raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
                for name in gone:
                    del files[name]
            files.update({file.path: file for file in additions})
            return self._add_commit(
                repository, new_branch or branch, parent.id, files.values(), title, description, author
            )

    def _add_commit(
        self,
        repository: Repository,
        branch: str,
        parent: str | None,
        files: Iterable[File],
        title: str,
        description: str,
        author: str,
    ) -> Commit:
        state = {
            "parent": parent,
            "title": title,
            "description": description,
            "author": author,
            "date": _now(),
            "files": {file.path: asdict(file) for file in sorted(files, key=lambda file: file.path)},
        }
        name = hashlib.sha1(json.dumps([repository.kind, repository.id, state]).encode()).hexdigest()
        path = repository.folder / "commits" / f"{name}.json"
        _write(path, json.dumps({"id": name, **state}, indent=1).encode())
        repository.branches[branch] = name
        repository.save()
        return Commit.read(path)


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{threading.get_ident()}")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
