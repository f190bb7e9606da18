"""The content of a picture's file, wherever it lies."""

import base64
import os
import stat
from pathlib import Path
from typing import Any

from .downloads_semart import download, without_password
from .picture_errors_semart import PictureError, is_picture, picture_error, shortened

#: Files of more bytes are not read.
MAX_FILE_BYTES = 1 << 30
# A shorter text is a path.
_LEAST_BASE64 = 100


def read_source(source: Any) -> tuple[bytes, str]:
    """The content of a picture's file, and how messages name it."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), f"of {memoryview(source).nbytes:,} bytes"
    if isinstance(source, str) and source.lstrip()[:8].lower().startswith(("http://", "https://")):
        name = repr(shortened(without_password(source)))
        try:
            return download(source), name
        except OSError as error:
            raise picture_error(
                "unreadable_picture", f"it cannot be fetched: {shortened(str(error))}", name
            ) from error
    if isinstance(source, str) and (content := _from_base64(source)) is not None:
        return content, f"of {len(source):,} characters of base64"
    if hasattr(source, "read"):
        return _read_open_file(source), f"in {shortened(repr(source))}"
    if not isinstance(source, str | os.PathLike) or (isinstance(source, str) and not source.strip()):
        raise picture_error(
            "missing_picture", "it is none", f"given as {shortened(repr(source))} of {type(source).__name__}"
        )
    name = repr(shortened(os.fsdecode(source)))
    try:
        return read_file(Path(os.fsdecode(source))), name
    except PictureError as error:
        raise picture_error(error.problem, error.reason, name) from None


def read_file(path: Path) -> bytes:
    """The content of a picture's file.

    Raises:
        PictureError: If there is no such file, or it is none that can be read, is empty or far too large.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise picture_error("not_a_file", "a directory, not a file")
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise picture_error("not_a_file", "a device, pipe or socket, not a file")
        if status.st_size > MAX_FILE_BYTES:
            raise picture_error("absurd_size", f"{status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise picture_error("missing_picture", "no file of this name") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise picture_error("unreadable_picture", f"the file cannot be read: {reason}") from None
    except ValueError as error:
        if isinstance(error, PictureError):
            raise
        raise picture_error("missing_picture", "no file of this name") from None  # it holds a null character


def _from_base64(text: str) -> bytes | None:
    """The content of a `data:` URL or of a picture in base64; `None` for other texts."""
    is_url = text[:5].lower() == "data:"
    head, _, body = text.partition(",") if is_url else ("base64", "", text)
    if not is_url and len(text) < _LEAST_BASE64:
        return None
    try:
        content = base64.b64decode(_padded("".join(body.split())), validate=True) if "base64" in head else None
    except ValueError:
        content = None
    if content is None and is_url:
        raise picture_error("broken_picture", "no whole content in base64", repr(shortened(text)))
    return content if content is not None and (is_url or is_picture(content)) else None


def _read_open_file(file: Any) -> bytes:
    try:
        place = file.tell() if file.seekable() else None
        if place is not None:
            file.seek(0)  # as Pillow does: a buffer that was written to stands at its end
        content = file.read(MAX_FILE_BYTES + 1)
        if place is not None:
            file.seek(place)
    except Exception as error:
        reason = f"the open file cannot be read: {shortened(str(error))}"
        raise picture_error("unreadable_picture", reason, shortened(repr(file))) from error
    if not isinstance(content, bytes):
        reason = f"the open file gives {type(content).__name__}, not bytes; open it with mode 'rb'"
        raise picture_error("unreadable_picture", reason, shortened(repr(file)))
    return content


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
