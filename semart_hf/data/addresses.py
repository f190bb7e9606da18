"""Where prepared data lies: a folder, a name on the Hub, or a URL in any form that fsspec knows."""

from collections.abc import Sequence
from pathlib import Path

import fsspec  # type: ignore[import-untyped]


def url_of(data: str | Path) -> str:
    """The place for fsspec: a name on the Hub becomes a URL, a folder and a URL stay what they are."""
    text = str(data)
    is_name = isinstance(data, str) and "://" not in text and not Path(text).exists()
    is_name = is_name and 1 <= text.strip("/").count("/") <= 1 and text[0] not in "./"
    return f"hf://datasets/{text}" if is_name else text


def shards_at(url: str, splits: Sequence[str]) -> dict[str, list[str]]:
    """URLs of the shards of each of the splits that lie there, in the order of their rows."""
    file_system, root = fsspec.core.url_to_fs(url)
    found = {split: sorted(file_system.glob(f"{root.rstrip('/')}/data/{split}-*.parquet")) for split in splits}
    return {split: [file_system.unstrip_protocol(path) for path in paths] for split, paths in found.items() if paths}
