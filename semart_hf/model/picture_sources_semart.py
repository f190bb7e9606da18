"""The content of a picture's file, wherever it lies: a path, a URL, bytes, base64 or an open file."""

import base64
import os
import re
import stat
import string
import threading
import time
import urllib.request
import zlib
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import quote, unquote, urlsplit

MAX_FILE_BYTES = 1 << 30
DOWNLOAD_SECONDS = 60.0  # from the call to the last byte
MAX_DOWNLOAD = 1 << 28  # bytes
#: Formats in which museums publish pictures; others start programs (EPS), say. HEIF is read where it is registered.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "JPEG2000", "AVIF", "PPM")
_WHOLE = "Allowed are whole files. Fetch it again, or leave it out."
_AS_TEXT = "if this is the painting's text, give it as {'text': …}."
#: By kind of fault: what is allowed, and what to do.
_ADVICE = {
    "missing_picture": "Allowed are a path, an http(s) URL, the bytes of a file, an open file or a PIL picture. "
    f"Correct the path; {_AS_TEXT}",
    "unreadable_picture": f"Allowed are files and http(s) URLs that can be read. Look at it by hand; {_AS_TEXT}",
    "not_a_picture": f"Allowed are {', '.join(FORMATS)}. Give another file.",
    "unsupported_picture": f"Allowed are {', '.join(FORMATS)}, with 8 or 16 bits a value. Convert it to one of these.",
    "truncated_picture": _WHOLE,
    "broken_picture": _WHOLE,
    "not_a_file": "Allowed are files. Name one of those in it.",
    "absurd_size": "Allowed are 1 x 1 pixels and more, and MAX_DECODED_BYTES of pictures_semart.py. Reduce the file.",
    "unknown_values": "Allowed are uint8 arrays (height, width[, channels]), uint8 tensors (channels, height, width) "
    "with 1, 3 or 4 channels, and grey values from 0 to 1. Convert them, or give a PIL picture.",
}
#: First bytes of the common formats, to tell a damaged picture from what is none.
PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|RIFF....WEBP|II[*+]\0|MM\0[*+]|....ftyp|\0\0\0\x0cjP|BM", re.DOTALL
)


class PictureError(ValueError):
    """A picture that cannot be read: the kind of `problem`, and the `reason` in a few words."""

    def __init__(self, message: str, problem: str = "broken_picture", reason: str = "") -> None:
        super().__init__(message)
        self.problem = problem
        self.reason = reason or message


def picture_error(problem: str, reason: str, name: str = "") -> PictureError:
    """The error of a picture, with what is allowed and what to do for this kind of fault."""
    picture = f"The picture {name}".rstrip()
    return PictureError(f"{picture} cannot be read: {reason}. {_ADVICE[problem]}", problem, reason)


def shortened(text: str) -> str:
    """The text with its middle left out where it is long."""
    return text if len(text) <= 100 else f"{text[:80]}…{text[-19:]}"


def source_name(source: Any) -> str:
    """How messages name a source, in few words and without passwords."""
    if isinstance(source, bytes | bytearray | memoryview):
        return f"of {memoryview(source).nbytes:,} bytes"
    if hasattr(source, "shape"):  # its values are not shown
        return ""
    try:
        if isinstance(source, str | os.PathLike) and str(source).strip():
            return repr(shortened(re.sub(r"(?i)^(\s*https?://)[^/?#]*@", r"\1", os.fsdecode(source))))
        how = "in" if hasattr(source, "read") else "given as"
        return f"{how} {shortened(repr(source))} of {type(source).__name__}"
    except Exception:  # noqa: BLE001 - whatever object was given
        return f"of {type(source).__name__}"


def read_source(source: Any) -> bytes:
    """The content of a picture's file."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str) and source.lstrip()[:8].lower().startswith(("http://", "https://")):
        try:
            return download(source)
        except OSError as error:
            raise picture_error("unreadable_picture", f"it cannot be fetched: {shortened(str(error))}") from error
    if isinstance(source, str) and (content := _from_base64(source)) is not None:
        return content
    if hasattr(source, "read"):
        return _read_open_file(source)
    if not isinstance(source, str | os.PathLike) or not str(source).strip():
        raise picture_error("missing_picture", "it is none")
    return read_file(Path(os.fsdecode(source)))


def read_file(path: Path) -> bytes:
    """The content of a picture's file; a `PictureError` if there is none, or none that can be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
            raise picture_error("not_a_file", f"{kind}, not a file")
        if status.st_size > MAX_FILE_BYTES:
            raise picture_error("absurd_size", f"{status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return path.read_bytes()
    except PictureError:
        raise
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name with a null character is a ValueError
        raise picture_error("missing_picture", "no file of this name") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise picture_error("unreadable_picture", f"the file cannot be read: {reason}") from None


def download(url: str, opener: urllib.request.OpenerDirector | None = None) -> bytes:
    """The content of an http(s) URL as people write them, with spaces or umlauts; an `OSError` if it does not come."""
    answers: SimpleQueue[bytes | Exception] = SimpleQueue()

    def fetch() -> None:
        try:
            answers.put(_fetch(url.strip(), opener.open if opener else urllib.request.urlopen))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            answers.put(error)

    # In a thread of its own, because a server that sends a byte now and then keeps a socket from timing out.
    threading.Thread(target=fetch, daemon=True).start()
    try:
        answer = answers.get(timeout=DOWNLOAD_SECONDS)
    except Empty:
        raise TimeoutError(f"not answered in full within {DOWNLOAD_SECONDS:g} seconds") from None
    if isinstance(answer, Exception):
        raise OSError(str(answer) or type(answer).__name__) from answer
    return answer


def _fetch(url: str, open_url: Any) -> bytes:
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    address = parts._replace(netloc=netloc, path=_quoted(parts.path), query=_quoted(parts.query), fragment="")
    # Several museums refuse Python's own name.
    request = urllib.request.Request(address.geturl(), headers={"User-Agent": "semart_hf"})
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
    end = time.monotonic() + DOWNLOAD_SECONDS
    content = bytearray()
    with open_url(request, timeout=DOWNLOAD_SECONDS) as response:
        while chunk := response.read1(1 << 16):
            content += chunk
            if len(content) > MAX_DOWNLOAD or time.monotonic() > end:  # nobody waits any more
                break
        announced = response.headers.get("Content-Length")
        if announced is not None and len(content) < min(int(announced), MAX_DOWNLOAD):
            raise OSError(f"the connection broke off after {len(content):,} of {int(announced):,} bytes")
        if response.headers.get("Content-Encoding", "identity").lower() in ("gzip", "x-gzip", "deflate"):
            content = bytearray(zlib.decompressobj(47).decompress(content, MAX_DOWNLOAD + 1))  # 47: either of them
    if len(content) > MAX_DOWNLOAD:
        raise OSError(f"it has more than {MAX_DOWNLOAD:,} bytes, the most that is fetched")
    return bytes(content)


def _quoted(text: str) -> str:
    """The text with everything quoted that a URL cannot hold; what is quoted stays as it is."""
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quote(text, safe=string.punctuation))


def _from_base64(text: str) -> bytes | None:
    """The content of a `data:` URL or of a picture in base64; `None` for other texts."""
    is_url = text[:5].lower() == "data:"
    if not is_url and len(text) < 100:  # a path
        return None
    head, _, body = text.partition(",") if is_url else ("base64", "", text)
    body = "".join(body.split())
    try:
        content = base64.b64decode(body + "=" * (-len(body) % 4), validate=True) if "base64" in head else b""
    except ValueError:
        content = b""
    if is_url and not content:
        raise picture_error("broken_picture", "no whole content in base64")
    return content if is_url or PICTURE.match(content) else None


def _read_open_file(file: Any) -> bytes:
    try:
        place = file.tell() if file.seekable() else None
        if place is not None:
            file.seek(0)  # as Pillow does: a buffer that was written to stands at its end
        content = file.read(MAX_FILE_BYTES + 1)
        if place is not None:
            file.seek(place)
    except Exception as error:
        raise picture_error("unreadable_picture", f"the open file cannot be read: {shortened(str(error))}") from error
    if not isinstance(content, bytes):
        reason = f"the open file gives {type(content).__name__}, not bytes; open it with mode 'rb'"
        raise picture_error("unreadable_picture", reason)
    return content
