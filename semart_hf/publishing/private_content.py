"""What a folder must not hold when it is published: paths and names of this machine, secrets, pickles."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import get_token

# Folders below which people keep their things, named from the root.
_PRIVATE_FOLDER = re.compile(
    rb"(?<![\w.:/-])(?:/(?:home|Users|root|tmp|mnt|private|scratch)/[\w.@+-]+|[A-Za-z]:\\{1,2}Users\\{1,2}[\w.@+-]+)"
)
_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{16,}")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy")


def find_private_content(folder: Path, source: str = "") -> list[str]:
    """A sentence for each secret, pickle, path or name of this machine or of the `source` in a folder's files."""
    home = Path.home().resolve()
    # `/` and `/app` are everybody's.
    private = {path for path in (home, Path.cwd(), Path(source).resolve()) if len(path.parts) > 2}
    private |= {home} - {Path("/")}
    words = {str(path): "a folder of this machine" for path in private}
    host = socket.gethostname()
    # A name of letters only may be an ordinary word.
    if not host.isalpha() and host != "localhost" and len(host) > 3:
        words[host] = "the name of this machine"
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix in _PICKLES:
            found.append(f"{name} is a pickle, which runs whatever code its maker put into it")
        elif path.suffix != ".parquet":  # compressed columns: no search of their bytes finds what they hold
            found += [f"{name} holds {problem}" for problem in _problems(_searched_part(path), words)]
    return found


def _problems(content: bytes, words: dict[str, str]) -> Iterator[str]:
    for word, description in words.items():
        if re.search(rb"(?<![\w.-])" + re.escape(word.encode()) + rb"(?![\w-])", content):
            yield f"{description}, {word!r}"
    if match := _PRIVATE_FOLDER.search(content):
        yield f"a path that exists on one machine only, {match[0].decode()!r}"
    # A secret is not repeated on the screen.
    if (token := get_token()) and token.encode() in content:
        yield "your Hugging Face token"
    elif _TOKEN.search(content):
        yield "what looks like a Hugging Face token"


def _searched_part(path: Path) -> bytes:
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with path.open("rb") as file:
        # A damaged file may give any length, or none: whether the weights can be read is checked elsewhere.
        length = int.from_bytes(file.read(8), "little")
        return file.read(min(length, path.stat().st_size))
