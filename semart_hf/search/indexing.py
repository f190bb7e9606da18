"""A catalogue becomes an index, or an index follows its catalogue: only rows that are new or changed are embedded."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from accelerate.utils import gather_object

from semart_hf.catalogue.text import unescaped
from semart_hf.collection.own_format import Row, readable
from semart_hf.collection.sources import Source
from semart_hf.collection.suggestions import PART_ROWS, Answer, Asked, answered_parts
from semart_hf.documents.page import to_jpeg
from semart_hf.files import full_disk_explained, locked, update_digest
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.loading_semart import digest_of_weights
from semart_hf.model.pipeline_semart import error_of

from . import vector_index

#: An index is written in at most so many parts, of `PART_ROWS` rows or more; a kill costs what is not in a whole one.
MOST_PARTS = 2_000
#: Rows that cannot be read of which it is said why.
NUM_PROBLEMS = 5
#: Pixels of a thumbnail's longer side.
THUMBNAIL_SIZE = 224
_KEY_TYPE = "S32"
Keys = npt.NDArray[np.bytes_]
_KEYS_AT_A_TIME = 1000


def describe_index(source: Source, model: Any, name: str) -> dict[str, Any]:
    """What an index of a catalogue by a model says of itself, as JSON, before it is written."""
    made = next(source.rows(), Row({})).cells  # by a mapping, beside the catalogue's own
    return {
        "format": vector_index.FORMAT,
        "model": name,
        "weights": digest_of_weights(model),
        "dimension": model.config.fusion_dim,
        "columns": [readable(column) for column in dict.fromkeys([*source.catalogue.columns, *made])],
        "tasks": [[task["name"], "labels" if is_multi_label(task) else "text"] for task in model.config.tasks],
        "images": str(source.images.resolve()),
        "image_column": source.image_column,
    }


def embed_paintings(classify: Any, paintings: Sequence[Mapping[str, Any]], batch_size: int) -> list[dict[str, Any]]:
    """Of each painting `{"image", "text"}` its `answer`, `vector (dimension,)` and `thumbnail`, or its `error`."""
    found, embedded = classify.embed(paintings, on_error="return", batch_size=batch_size), []
    for painting, answer, vector in zip(paintings, found["answers"], vector_index.summed(found), strict=True):
        if error_of(answer) is None:
            answer = {"answer": answer, "vector": vector, "thumbnail": to_jpeg(painting.get("image"), THUMBNAIL_SIZE)}
        embedded.append(answer)
    return embedded


def index_catalogue(
    source: Source, address: str, embed: Callable[[Asked], Asked], about: dict[str, Any], state: Any
) -> tuple[dict[str, int], list[str], dict[str, Any]]:
    """Write or update an index: rows `added`, `removed`, `kept`, `failed`, why, and what it says of itself."""
    is_first, is_local = state.process_index == 0, "://" not in address
    alone = locked(address, "indexing") if is_first and is_local else nullcontext()
    folder = Path(address).parent if is_local else Path()
    with alone, full_disk_explained(folder, "What is embedded is kept. Make room and give the same command."):
        searched = _begin(address, about) if is_first else None
        state.wait_for_everyone()
        keys, table = _keys(source, state), vector_index.open_paintings(address)
        stored, _ = _stored(table)
        state.wait_for_everyone()  # before anybody writes what another would still count as stored
        is_missing, failed = ~np.isin(keys, stored), list[str]()
        part_rows = max(PART_ROWS, len(keys) // MOST_PARTS)
        for part in answered_parts(source, is_missing, part_rows, embed, state):
            rows = []
            for number, row, answer in zip(*part, strict=True):
                if answer.predictions:
                    rows.append(_stored_row(keys[number], number, row, answer, about, source))
                else:
                    failed.append(f"row {number}: {answer.problem}")
            if rows:
                table.add(pa.Table.from_pylist(rows, schema=table.schema))
        num_failed, problems = sum(gather_object([len(failed)])), gather_object(failed[:NUM_PROBLEMS])[:NUM_PROBLEMS]
        num_kept = int((~is_missing).sum())
        counts = {"added": len(keys) - num_kept - num_failed, "removed": int((~np.isin(stored, keys)).sum())}
        if is_first:
            about = {**about, **_finish(address, keys, searched)}
            vector_index.write_about(vector_index.connect(address), about)
        state.wait_for_everyone()
    return {**counts, "kept": num_kept, "failed": num_failed}, problems, about


def _begin(address: str, about: Mapping[str, Any]) -> Any:
    """Make an index, or check the model and columns of the one that is there; its version that was complete last."""
    database = vector_index.connect(address, creates=True)
    names = database.list_tables().tables
    if "://" not in address and not names and Path(address).is_dir() and any(Path(address).iterdir()):
        raise ValueError(f"Got {address}, a folder that is not empty and no index. Give the name of a new folder.")
    if "about" not in names:
        vector_index.create_paintings(database, about)
        vector_index.write_about(database, {**about, "version": None})
        return None
    found = vector_index.read_about(address)
    vector_index.check_weights(found, address, about["model"], about["weights"])
    if (found["columns"], found["tasks"]) != (about["columns"], about["tasks"]):
        problem = f"Got the columns {about['columns']}, but {address} is the index of one with {found['columns']}"
        raise ValueError(f"{problem}. Give another --output.")
    with vector_index.damage_explained(address):
        vector_index.open_paintings(address).delete("key LIKE '%!'")
    return found["version"]


def _keys(source: Source, state: Any) -> Keys:
    """A key of each row of the catalogue: of its cells, its picture, and how many equal rows are before it."""
    mine = islice(source.rows(), state.process_index, None, state.num_processes)
    parts = gather_object([np.array([_key(row, source) for row in mine], dtype=_KEY_TYPE)])
    keys = np.empty(sum(map(len, parts)), dtype=_KEY_TYPE)
    for first, part in enumerate(parts):
        keys[first :: len(parts)] = part
    num_before = pd.Series(keys).groupby(keys, sort=False).cumcount().to_numpy()
    for place in np.flatnonzero(num_before):
        name = keys[place] + str(num_before[place] + 1).encode()
        keys[place] = hashlib.blake2b(name, digest_size=16).hexdigest().encode()
    return keys


def _key(row: Row, source: Source) -> str:
    try:
        painting, problem = source._replace(fetch=None).painting(row)
    except ValueError as error:
        painting, problem = {}, str(error)
    reason = problem if source.fetch is None else None
    digest = hashlib.blake2b(json.dumps([row.cells, painting.get("text"), reason]).encode(), digest_size=16)
    image = painting.get("image")
    if isinstance(image, str):
        with suppress(OSError):  # embedding it says what is wrong
            update_digest(digest, image)
    elif image is not None:
        digest.update(image)
    return digest.hexdigest()


def _stored(table: Any) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Keys and row numbers of a table."""
    found = table.search().select(["key", "row"]).limit(max(1, table.count_rows())).to_arrow()
    keys = (key.as_py() for key in found["key"])
    return np.fromiter(keys, dtype=_KEY_TYPE, count=len(found)), np.asarray(found["row"])


def _stored_row(key: bytes, number: int, row: Row, answer: Answer, about: Mapping[str, Any], source: Source) -> Any:
    found: Any = answer.predictions
    # What could not be fetched today is another row tomorrow, and is tried again.
    name = key[:-1] + b"!" if answer.problem and source.fetch is not None else key
    stored = {"key": name.decode(), "row": number, "problem": answer.problem}
    stored |= {"vector": found["vector"], "thumbnail": found["thumbnail"]}
    for place, column in enumerate(about["columns"]):
        stored[f"cell_{place}"] = readable(unescaped(row.cells.get(column) or "")) or None
    for place, (task, kind) in enumerate(about["tasks"]):
        ranked = found["answer"][task]
        labels = [one["label"] for one in ranked]
        stored[f"label_{place}"] = (labels or None) if kind == "labels" else labels[0]
        stored[f"confidence_{place}"] = ranked[0]["score"] if ranked else None
    return stored


def _finish(address: str, keys: Keys, searched: int | None) -> dict[str, Any]:
    """Remove what the catalogue no longer has, number the rows as it does, and complete the index."""
    table = vector_index.open_paintings(address)
    stored, rows = _stored(table)
    now = pd.Index(keys).get_indexer(pd.Index(stored))  # -1 for those that are gone
    gone = stored[(now < 0) & ~np.char.endswith(stored, b"!")].tolist()
    for start in range(0, len(gone), _KEYS_AT_A_TIME):
        named = ", ".join(f"'{key.decode()}'" for key in gone[start : start + _KEYS_AT_A_TIME])
        table.delete(f"key IN ({named})")
    moved = (now >= 0) & (now != rows)
    if moved.any():
        numbers = pa.table({"key": [key.decode() for key in stored[moved]], "row": now[moved]})
        table.merge_insert("key").when_matched_update_all().execute(numbers)
    recall = vector_index.complete(table, searched)
    return {"version": table.version, "num_rows": table.count_rows(), "recall": recall}
