"""Text files of museums, decoded as they are marked, as they seem to be, or as the caller says."""

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from .tables import Problem
from .text import word_table

# UTF-32's little-endian mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXTS = (
    (b"PK\x03\x04", "an Excel workbook or another zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF document"),
)
_CHUNK_BYTES = 1 << 20

_CANDIDATES = (
    "mac_roman", "cp1250", "iso8859_2", "cp1251", "koi8_r", "mac_cyrillic", "cp1253", "cp1254", "cp1257", "cp850",
    "cp852",
)  # fmt: skip
# Words with a byte beyond ASCII; a no-break space and a soft hyphen divide words.
_FOREIGN_WORDS = re.compile(rb"[A-Za-z]*[\x80-\x9f\xa1-\xac\xae-\xff][A-Za-z\x80-\x9f\xa1-\xac\xae-\xff]*")
_BEFORE_WORDS = "“”‘’„‚«»‹›…–—•·°©®™¿¡§†‡£€¢¥´½¼¾×"
_AFTER_WORDS = re.compile("(?:(?<=m)[²³])?[“”‘’„«»‹›…–—•·°ºª©®™§†‡£€¢´½¼¾×]*$")
_INSIDE_WORDS = re.compile("[’‘´–—·…]")
_DECODED_TWICE = re.compile("[ÃÂ][\u0080-\u00bf]|Ã[ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€")
_MOST_WORDS = 20_000
# A smaller share of improbable words does not put the file's encoding in question.
_SINGLE_WORDS = 0.1


def open_lines(path: str | Path, encoding: str | None = None) -> tuple[Iterator[str], str, list[Problem]]:
    """Lines of a text file with their ends, read as they are asked for; its encoding, and a finding if it is doubtful.

    Bytes that are no character become U+FFFD.
    """
    encoding, doubt = find_encoding(path, encoding)
    action = f"read as {encoding}; if that is wrong, say encoding: in the mapping or --encoding"
    problem = Problem(None, None, None, "improbable_text", f"{Path(path).name}: {doubt}", action)
    return _lines(path, encoding), encoding, [problem] if doubt else []


def read_text_file(path: str | Path) -> tuple[str, str, str | None]:
    """Text of a whole file, its encoding as found, and why that may be another; `None` where nothing speaks for it."""
    encoding, doubt = find_encoding(path)
    text = "".join(_lines(path, encoding))
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding, doubt


def find_encoding(path: str | Path, encoding: str | None = None) -> tuple[str, str | None]:
    """A text file's encoding, and a sentence where the text that it gives is improbable.

    Unless given, it is that of the byte order mark, else UTF-16 where every other byte is zero, else UTF-8, else
    cp1252, the official release's, which plain ASCII counts as.
    """
    if encoding is not None:
        try:
            b"a".decode(encoding, "replace")  # rot13 and hex are codecs too, but of no text
            return codecs.lookup(encoding).name, None
        except LookupError:
            raise ValueError(
                f"Got the encoding {encoding!r}, but it is a name that Python knows, such as utf-8, cp1252, "
                "mac_roman, iso8859_2 or cp1251. Correct it."
            ) from None
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    num_broken = num_foreign = 0
    words: Counter[bytes] = Counter()
    decoded_twice: re.Match[str] | None = None
    with Path(path).open("rb") as file:
        first = file.read(_CHUNK_BYTES)
        known = _known_by_its_start(first, path)
        if known is not None:
            return known, None
        while first:
            text = decoder.decode(first)
            if not text.isascii():
                num_broken += text.count("\ufffd")
                num_foreign += len(text) - len(text.encode("ascii", "ignore"))
                decoded_twice = decoded_twice or _DECODED_TWICE.search(text)
                if len(words) < _MOST_WORDS:
                    words.update(_FOREIGN_WORDS.findall(first))
            first = file.read(_CHUNK_BYTES)
    num_at_end = len(decoder.decode(b"", final=True))  # what is left of a character that is cut off
    # One broken byte does not make a UTF-8 file a cp1252 one: there nearly every accented letter is broken UTF-8.
    if num_broken + num_at_end < num_foreign - num_broken:
        return "utf-8", decoded_twice and (
            f"it holds signs such as {decoded_twice.group()!r}: text in UTF-8 that was taken for cp1252 and stored so"
        )
    return "cp1252", _doubt(words)


def _known_by_its_start(start: bytes, path: str | Path) -> str | None:
    for signature, kind in _NO_TEXTS:
        if start.startswith(signature):
            raise ValueError(
                f"Got {path}, which is {kind}, but it is read as text. Save its table as CSV in UTF-8 and give that."
            )
    for mark, encoding in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding
    if start.count(0) > len(start) / 50:
        for encoding in ("utf-16-le", "utf-16-be"):
            text = start[: len(start) // 2 * 2].decode(encoding, "replace")
            if sum(character < "\u0500" for character in text) > 0.8 * len(text):  # up to Cyrillic
                return encoding
    return None


def _doubt(words: Counter[bytes]) -> str | None:
    """Why cp1252 is improbable for these words, and what is likelier."""
    improbable = [word for word in words if not _is_probable(word, "cp1252")]
    if not improbable:
        return None
    num_improbable = sum(words[word] for word in improbable)
    shown = ", ".join(repr(word.decode("cp1252", "replace")) for word in improbable[:3])
    what = f"{num_improbable:,} of {words.total():,} words beyond ASCII, such as {shown}, are improbable in cp1252"
    if num_improbable < _SINGLE_WORDS * words.total():
        return f"{what}; the others fit it: these are wrong in the file itself"
    chosen = sorted(words, key=lambda word: -words[word])[:2000]
    fits = {name: sum(_is_probable(word, name) for word in chosen) for name in ("cp1252", *_CANDIDATES)}
    likely = sorted((name for name in _CANDIDATES if fits[name] > fits["cp1252"]), key=lambda name: -fits[name])
    likely = [name for name in likely if fits[name] >= 0.98 * fits[likely[0]]][:3]
    return f"{what}; {'likely is ' + ' or '.join(likely) if likely else 'no encoding that is tried fits better'}"


def _is_probable(word: bytes, encoding: str) -> bool:
    """Whether each part of a word has the letters of one language, and no capital after a small letter."""
    try:
        text = word.decode(encoding)
    except UnicodeDecodeError:
        return False
    if encoding == "cp1252" and re.search("õ(?!e)", text):  # Portuguese has it before e alone; it is the Hungarian ő
        return False
    for part in _INSIDE_WORDS.split(_AFTER_WORDS.sub("", text.lstrip(_BEFORE_WORDS))):
        foreign = {letter for letter in part.casefold() if not letter.isascii()}
        is_mixed = any(
            second.isupper() and not second.isascii() and first.islower() for first, second in pairwise(part)
        ) or (max(foreign, default="") >= "\u0370" and re.search("[A-Za-z]", part))
        if is_mixed or not any(foreign.issubset(letters) for letters in word_table("alphabets").values()):
            return False
    return True


def _lines(path: str | Path, encoding: str) -> Iterator[str]:
    with Path(path).open(encoding=encoding, errors="replace", newline="") as file:
        for number, line in enumerate(file):
            yield line if number else line.removeprefix("\ufeff")


def text_beside(picture: Path) -> tuple[str | None, str | None]:
    """The text of the file beside a picture (`a.txt`, `a.jpg`), and a sentence where its encoding is in doubt."""
    path = next((path for ending in (".txt", ".TXT") if (path := picture.with_suffix(ending)).is_file()), None)
    if path is None:
        return None, None
    try:
        text, encoding, doubt = read_text_file(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"The text beside the picture cannot be read. {error}") from error
    return text.strip() or None, doubt and f"{path} was read as {encoding}, but {doubt}"
