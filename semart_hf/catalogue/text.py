"""The model's text input, made of a row's columns, and the words in it that give the answer away."""

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

MAPPINGS = Path(__file__).parents[1] / "mappings"  #: the shipped ones, and tables of words
MASK = "[MASK]"  #: in place of a word that names a label: what BERT's and DistilBERT's tokenizers mask with
WAYS_OF_NAMING = ("type", "school", "medium", "year", "century", "author")  #: SemArt's labels; see `named_labels`
_SOURCES = {"medium": "technique", "timeframe": "date"}  # what labels of SemArt are made of
_Labels = str | Sequence[str] | None
# Entities end in a semicolon: "R&D" and "&c." stay as they are.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# Between two columns of a template: closing brackets of the left one, the joint, and words that lead to the right one.
_BETWEEN = re.compile(r"([)\]}\"'”’»]*)(\S*\s*)(.*)", re.DOTALL)


class _Part(NamedTuple):
    column: str
    joint: str = ""  # to the text before it
    before: str = ""
    after: str = ""


def text_of(row: Mapping[str, object], columns: Sequence[str] | str) -> str | None:
    """A row's text input: its columns in their order, those that are missing left out; `None` where all are.

    A list of columns, whose case does not matter, makes each a sentence. In a template, also alone in a list, such as
    `"{TITLE} ({DATE}), by {AUTHOR}. {DESCRIPTION}"` brackets and words before a column go with it, so that a row
    without date and author gives "The Ninth Wave. A ship founders."
    """
    values = {name.lower(): value for name, value in row.items()}
    text = ""
    for part in _parts(columns_or_template(columns)):
        if part.column not in values:
            raise ValueError(
                f"Got the text column {part.column.upper()!r}, but the columns are "
                f"{[name.upper() for name in values]}. Choose text_columns among these."
            )
        if values[part.column] is not None:
            joint = part.joint.lstrip(".") if text.endswith((".", "!", "?")) else part.joint
            text += (joint if text else "") + part.before + str(values[part.column]) + part.after
    return text or None


def unescaped(text: str) -> str:
    """The text with its HTML entities as the characters that browsers show."""
    return _ENTITY.sub(lambda entity: html.unescape(entity.group()), text)


@lru_cache
def word_table(name: str) -> dict[str, Any]:
    """Words of one kind, as regular expressions, from `mappings/words`."""
    return yaml.safe_load((MAPPINGS / "words" / f"{name}.yaml").read_text("utf-8"))


def mask_label_words(text: str | None, row: Mapping[str, _Labels] | None = None, *, token: str = MASK) -> str | None:
    """The text with `token` for each word that names a label.

    Masked are the words of `mappings/words/labels.yaml`: the row's own and others, so that the gap tells nothing. Of
    other tasks it is the row's own labels, by task in `row`, and the parts of the name of its `author`.
    """
    if text is None:
        return None
    plain = _without_accents(text)
    patterns = (_any_label_words(), *_own_words(row or {}).values())
    spans = [match.span() for pattern in patterns for match in pattern.finditer(plain)]
    masked, end = "", 0
    for start, stop in sorted(spans):
        if start >= end:
            masked += text[end:start] + token
        end = max(end, stop)
    return masked + text[end:]


def named_labels(text: str, row: Mapping[str, _Labels]) -> set[str]:
    """In which of the `WAYS_OF_NAMING` a text names its row's own labels, and which further tasks of the row.

    Any `year` and `century` counts, since the timeframe is mostly near, and a part of the painter's name.
    """
    plain = _without_accents(text)
    patterns = [*_own_words(row).items(), *((way, _label_words("timeframe", way)) for way in ("year", "century"))]
    return {way for way, pattern in patterns if pattern and pattern.search(plain)}


def template_parts(template: str, name: str = "the text template") -> list[tuple[str, str | None]]:
    """Each column that a template names in braces after the text before it; `None` after the text at its end."""
    *pieces, last = re.split(r"\{([^{}]+)\}", template)  # names may hold what Python's own templates do not allow
    if not pieces or any(brace in literal for literal in (*pieces[::2], last) for brace in "{}"):
        raise ValueError(
            f"Got {name} {template!r}, but it is text with column names in braces: '{{TITLE}}. {{DESCRIPTION}}'."
        )
    return [*zip(pieces[::2], pieces[1::2], strict=True), *([(last, None)] if last else [])]


def answers_in_text(text_columns: Sequence[str] | str, tasks: Iterable[tuple[str, str]]) -> str | None:
    """A sentence about the `tasks`, name and column, whose labels the text has in words; `None` if there are none."""
    read = {part.column for part in _parts(columns_or_template(text_columns))}
    if not (found := [name for name, column in tasks if _SOURCES.get(column, column) in read]):
        return None
    return (
        f"The text is made of {sorted(read)}, which has the answer of {', '.join(found)}: a model reads it there. "
        "Leave the column out of text_columns, or the task out of tasks."
    )


def columns_or_template(text_columns: Sequence[str] | str) -> tuple[str, ...] | str:
    """Several columns, or the one template, also where it stands alone in a list, as in a recipe."""
    columns = (text_columns,) if isinstance(text_columns, str) else tuple(text_columns)
    return columns[0] if len(columns) == 1 and "{" in columns[0] else columns


def is_description_alone(text_columns: Sequence[str] | str) -> bool:
    """Whether a text of these columns is the description and nothing else."""
    columns = [text_columns] if isinstance(text_columns, str) else list(text_columns)
    return [column.strip("{}").lower() for column in columns] == ["description"]


@lru_cache(maxsize=32)
def _parts(columns: tuple[str, ...] | str) -> list[_Part]:
    if not columns:
        raise ValueError('Got no text columns, but a text has at least one. Pass for example ["DESCRIPTION"].')
    if not isinstance(columns, str):
        return [_Part(column.lower(), joint=". ") for column in columns]
    parts: list[_Part] = []
    for literal, column in template_parts(columns):
        is_between = bool(parts) and column is not None
        after, joint, before = _BETWEEN.findall(literal)[0] if is_between else (literal, "", literal)
        if parts:
            parts[-1] = parts[-1]._replace(after=after)
        if column is not None:
            parts.append(_Part(column.lower(), joint, before))
    return parts


def _without_accents(text: str) -> str:
    """The text without accents, with every position as it was."""
    return "".join(unicodedata.normalize("NFKD", letter)[0] if not letter.isascii() else letter for letter in text)


@lru_cache(maxsize=1)
def _any_label_words() -> re.Pattern[str]:
    tables = [table for kind in ("names", "related") for table in word_table("labels")[kind].items()]
    return _whole_words("|".join(_in_case(task, words) for task, labels in tables for words in labels.values()))


def _own_words(row: Mapping[str, _Labels]) -> dict[str, re.Pattern[str]]:
    """Pattern of the names of a row's own labels by task, and of its `author`; years have patterns of their own."""
    patterns = {"author": _author_words(row.get("author"))}
    for task, labels in row.items():
        if labels and task not in ("timeframe", "author"):
            patterns[task] = _label_words(task, *([labels] if isinstance(labels, str) else labels))
    return {task: pattern for task, pattern in patterns.items() if pattern}


@lru_cache(maxsize=4096)
def _label_words(task: str, *labels: str) -> re.Pattern[str] | None:
    """Pattern of labels' own names; that of a label outside the tables is its words. `Other` names nothing."""
    table = word_table("labels")["names"].get(task, {})
    own = (r"[\W_]+".join(map(re.escape, re.findall(r"[^\W_]+", _without_accents(label)))) for label in labels)
    words = [
        table.get(label, f"{name}s?")
        for label, name in zip(labels, own, strict=True)
        if name and label.lower() not in ("other", "unk", "unknown")
    ]
    return _whole_words(_in_case(task, "|".join(words))) if words else None


def _in_case(task: str, words: str) -> str:
    """Expression in any case, but for schools: they are proper names, so that "to polish" and "Polish" differ."""
    return words if task == "school" else f"(?i:{words})"


def _whole_words(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])")


@lru_cache(maxsize=8192)
def _author_words(author: _Labels) -> re.Pattern[str] | None:
    """Pattern of a painter's name: its capitalised parts from three letters on, also in such as Caravaggesque."""
    if not isinstance(author, str):
        return None
    name = _without_accents(author)
    nameless = word_table("labels")["nameless_parts"]
    parts = [part for part in re.findall(r"[^\W\d_]{3,}", name) if not re.fullmatch(nameless, part.lower())]
    # A master without a name by the whole name alone: "Saint" and "Veronica" are subjects of other paintings.
    if re.match(r"(?i)(?:master|monogrammist|unknown)\b", name):
        return _whole_words(f"(?i:{'[^A-Za-z]+'.join(map(re.escape, name.split()))})")
    ends, ends_of_stem = "(?:s|es|esque|ian|ism|ists?)?", "(?:esque|ism|ists?|isti)"
    stems = [(part, part.rstrip("aeiouAEIOU")) for part in parts]
    words = [rf"{part[0].upper()}(?i:{part[1:]}{ends}|{stem[1:]}{ends_of_stem})" for part, stem in stems]
    return _whole_words("|".join(words)) if words else None
