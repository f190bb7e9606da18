"""What was found wrong in a catalogue's rows, as records that are counted, shown and written as JSON lines."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from semart_hf.files import write_text


@dataclass(frozen=True)
class Problem:
    """One finding about one row, and what was done with the row because of it.

    Attributes:
        row: Number of the data row in its file from 1; `None` where the finding concerns a whole file.
        split: Split the row belongs to, if to one yet.
        image_file: The row's picture by its name in the catalogue, if it names one.
        problem: Short name of the kind of finding, such as `missing_picture`.
        detail: What was seen, for a person.
        action: What became of the row, such as `dropped`, `kept` or `kept as text`.
        release: Name of the release, where several are merged.
    """

    row: int | None
    split: str | None
    image_file: str | None
    problem: str
    detail: str
    action: str
    release: str | None = None

    def as_json(self) -> str:
        """One line of JSON in the order of the fields; `release` only where several releases are merged."""
        record = asdict(self)
        if self.release is None:
            del record["release"]
        return json.dumps(record, ensure_ascii=False)


def write_problems(problems: Iterable[Problem], path: str | Path) -> None:
    """Write the problems to `path`, one JSON object a line."""
    write_text(path, "".join(problem.as_json() + "\n" for problem in problems))


def count_problems(problems: Iterable[Problem]) -> dict[str, int]:
    """Number of findings by kind, most frequent first."""
    counts = Counter(problem.problem for problem in problems)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
