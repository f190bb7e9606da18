"""Files and folders that appear whole or not at all, and folders in which one process works at a time."""

import errno
import fcntl
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

# A killed run's child processes, which still hold its lock, end within a second or so.
LOCK_SECONDS = 10.0
# What this process works on: inside the block it may ask for the same folder again.
_LOCKED: set[Path] = set()
# How torch and safetensors word a full disk, which they do not raise as OSError.
_FULL_DISK_WORDS = ("No space left on device", "PytorchStreamWriter failed", "file write failed", "unexpected pos ")


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when the block ends, and goes when it fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())  # a power cut leaves the old file or the new
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)  # a full disk needs the room


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all."""
    with atomic_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON, whole or not at all; a ValueError if it holds NaN or infinity, which JSON has no word for."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; `None` where there is none, and a ValueError for another."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8")) if Path(path).is_file() else None
    except ValueError as error:
        raise ValueError(f"Got {path}, which is no JSON: {error}. Correct or remove it.") from error


@contextmanager
def atomic_folder(folder: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """An empty folder to fill; it becomes `folder`, which is empty or to be replaced, when the block ends, or goes."""
    folder = Path(folder).absolute()
    refuse_mounted(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Got {folder}, which is a file. Give the name of a folder, or of a new one.")
    if not replace and folder.exists() and any(folder.iterdir()):
        raise ValueError(f"Got the folder {folder}, which is not empty. Give the name of a new folder, or empty it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
        unfinished, old = Path(place, "new"), Path(place, "old")
        unfinished.mkdir()
        yield unfinished
        try:
            if folder.exists():
                folder.rename(old)
            unfinished.rename(folder)
        finally:
            if old.exists() and not folder.exists():
                old.rename(folder)


@contextmanager
def output_folder(folder: str | os.PathLike[str], own_files: Sequence[str], kind: str) -> Iterator[Path]:
    """As `atomic_folder`, which replaces a folder that holds only files of an earlier output, by their patterns."""
    folder = Path(folder)

    def refuse_foreign() -> None:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
        if foreign := sorted(name for name in names if not any(fnmatch(name, pattern) for pattern in own_files)):
            more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
            held = f"which holds {', '.join(foreign[:3])}{more}. Only an earlier {kind} is replaced"
            raise ValueError(f"Got {folder}, {held}. Give another folder, or move these files away.")

    refuse_foreign()
    with atomic_folder(folder, replace=True) as unfinished:
        yield unfinished
        refuse_foreign()  # what somebody has put there meanwhile would go with the old folder


def refuse_mounted(folder: Path) -> None:
    """Raise ValueError for a mounted volume, whose name another folder cannot get."""
    if os.path.ismount(folder):
        raise ValueError(f"Got {folder}, a mounted volume, which cannot be replaced. Give a folder inside it.")


def update_digest(digest: Any, path: str | Path) -> None:
    """Let a digest of hashlib go on with the content of a file."""
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)


@contextmanager
def locked(folder: str | Path, work: str, *, wait: float | None = None) -> Iterator[None]:
    """While the block runs, this process alone works on `folder`, or after a wait a ValueError names who does."""
    folder = Path(folder).resolve()
    if folder in _LOCKED:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f".{folder.name}.lock"
    file = _acquired(path, folder, time.monotonic() + (LOCK_SECONDS if wait is None else wait))
    _LOCKED.add(folder)
    try:
        file.truncate(0)
        now = datetime.now().isoformat(" ", "seconds")
        file.write(f"{work}, process {os.getpid()} on {socket.gethostname()}, started {now}")
        file.flush()
        yield
    finally:
        _LOCKED.discard(folder)
        path.unlink(missing_ok=True)
        file.close()


def _acquired(path: Path, folder: Path, deadline: float) -> IO[str]:
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that held the lock removes the file: what was opened may be a file without a name.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()
        except (BlockingIOError, PermissionError):
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            if time.monotonic() > deadline:
                problem = f"Another process is at work in {folder}: {owner}"
                raise ValueError(f"{problem}. Wait for it, end it, or give another folder.") from None
            time.sleep(0.2)


@contextmanager
def full_disk_explained(folder: str | Path, advice: str) -> Iterator[None]:
    """Where the block fails for a full disk, its OSError says where that is, what is kept and what to do."""
    try:
        yield
    except Exception as error:
        is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if not (is_full or any(words in str(error) for words in _FULL_DISK_WORDS)) or "The disk is full" in str(error):
            raise
        free = shutil.disk_usage(folder).free if Path(folder).exists() else 0
        raise OSError(errno.ENOSPC, f"The disk is full ({free // 2**20} MiB free): {folder}. {advice}") from error
