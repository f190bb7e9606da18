"""Shards at an address that machines without a common disk reach: each is stored there once it is finished."""

import hashlib
from pathlib import Path

import datasets
import fsspec  # type: ignore[import-untyped]

from .shards import shard_file


class Mirror:
    """The address of a dataset, in any form that fsspec knows, and a folder of this machine where it is prepared."""

    def __init__(self, url: str) -> None:
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = root.rstrip("/")
        self._work = f"{self._root}.preparing"
        digest = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
        self.folder = Path(datasets.config.HF_DATASETS_CACHE) / "semart_hf" / "mirrors" / digest
        self._marker = f"{self._work}/publishing"
        if self._has_dataset() and not self._files.exists(self._marker):
            raise ValueError(f"Got {url}, where something lies already. Remove it, or choose another address.")

    def fetch(self, work: Path, ending: str = ".json") -> None:
        """Bring what is stored, the shards' notes or their files; what lies here may be half, or of an earlier run."""
        for path in self._files.glob(f"{self._work}/*{ending}"):
            place = work / Path(path).name
            place.with_suffix(".parquet").unlink(missing_ok=True)  # a note is stored after its file
            self._files.get_file(path, str(place))

    def store(self, work: Path, split: str, number: int) -> None:
        """Store a finished shard, its note last, and keep the note alone here."""
        file = shard_file(work, split, number)
        self._files.makedirs(self._work, exist_ok=True)
        for path in (file, file.with_suffix(".json")):
            place = f"{self._work}/{path.name}"
            self._files.put_file(str(path), f"{place}.unfinished")
            self._files.mv(f"{place}.unfinished", place)
        file.unlink()

    def publish(self) -> None:
        """Store the finished dataset of `folder`, its summary last, and remove the shards that it was made of.

        What an interrupted publication has stored is replaced.
        """
        self._files.makedirs(self._work, exist_ok=True)
        self._files.touch(self._marker)
        if self._has_dataset():
            self._files.rm(self._root, recursive=True)
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        for path in sorted(files, key=lambda path: (path.name == "summary.json", path)):
            place = f"{self._root}/{path.relative_to(self.folder).as_posix()}"
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(path), place)
        self._files.rm(self._work, recursive=True)

    def _has_dataset(self) -> bool:
        return bool(self._files.exists(self._root) and self._files.ls(self._root))
