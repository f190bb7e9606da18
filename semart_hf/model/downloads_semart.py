"""The content behind an http(s) URL, within limits of size and time."""

import base64
import re
import string
import threading
import time
import urllib.request
import zlib
from queue import Empty, SimpleQueue
from urllib.parse import SplitResult, quote, unquote, urlsplit

DOWNLOAD_SECONDS = 60.0  # from the call to the last byte
MAX_DOWNLOAD = 1 << 28  # bytes
_CHUNK = 1 << 16


def download(url: str) -> bytes:
    """The content of an http(s) URL as people write them: with spaces, umlauts, international hosts, or a password.

    Raises:
        OSError: If it cannot be fetched, takes more than `DOWNLOAD_SECONDS` or has more than `MAX_DOWNLOAD` bytes.
    """
    # In a thread of its own, because a server that sends a byte now and then keeps a socket from timing out.
    answers: SimpleQueue[bytes | Exception] = SimpleQueue()
    threading.Thread(target=lambda: answers.put(_answer(url)), daemon=True).start()
    try:
        answer = answers.get(timeout=DOWNLOAD_SECONDS)
    except Empty:
        raise TimeoutError(f"not answered in full within {DOWNLOAD_SECONDS:g} seconds") from None
    if isinstance(answer, Exception):
        raise OSError(str(answer) or type(answer).__name__) from answer
    return answer


def without_password(url: str) -> str:
    """The URL without user name and password, for messages."""
    return re.sub(r"(?<=://)[^/?#]*@", "", url)


def _answer(url: str) -> bytes | Exception:
    try:
        return _fetch(urlsplit(url.strip()))
    except Exception as error:  # noqa: BLE001 - raised where it is waited for
        return error


def _fetch(parts: SplitResult) -> bytes:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    address = parts._replace(
        netloc=host if parts.port is None else f"{host}:{parts.port}",
        path=_quoted(parts.path),
        query=_quoted(parts.query),
        fragment="",
    )
    # Several museums refuse Python's own name.
    request = urllib.request.Request(address.geturl(), headers={"User-Agent": "semart_hf"})
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
    end = time.monotonic() + DOWNLOAD_SECONDS
    content = bytearray()
    with urllib.request.urlopen(request, timeout=DOWNLOAD_SECONDS) as response:
        while chunk := response.read1(_CHUNK):
            content += chunk
            _check_size(content)
            if time.monotonic() > end:  # nobody waits any more
                raise TimeoutError
        announced = response.headers.get("Content-Length")
        if announced is not None and len(content) != int(announced):
            raise OSError(f"the connection broke off after {len(content):,} of {int(announced):,} bytes")
        if response.headers.get("Content-Encoding", "identity").lower() in ("gzip", "x-gzip", "deflate"):
            content = bytearray(zlib.decompressobj(47).decompress(content, MAX_DOWNLOAD + 1))  # 47: either of them
    _check_size(content)
    return bytes(content)


def _check_size(content: bytearray) -> None:
    if len(content) > MAX_DOWNLOAD:
        raise OSError(f"it has more than {MAX_DOWNLOAD:,} bytes, the most that is fetched")


def _quoted(text: str) -> str:
    """The text with everything quoted that a URL cannot hold; what is quoted stays as it is."""
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quote(text, safe=string.punctuation))
