"""An index of paintings in LanceDB, each with a vector, its cells, labels and a thumbnail; what is asked of it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from semart_hf.extras import optional
from semart_hf.model.pictures_semart import load_picture

from .filters import Field, parse_filter

FORMAT = "1.0"
#: With fewer rows all are compared; with more an approximate index says which.
EXACT_ROWS = 50_000
#: Where so few rows pass a filter, these are compared one by one.
EXACT_MATCHES = 5_000
#: Partitions of the approximate index that are looked into: the first number with which its recall is enough.
PROBES = (20, 40, 80, 160)
ENOUGH_RECALL = 0.95
NUM_RECALL_QUERIES, RECALL_TOP_K = 100, 10
_PARTITION_ROWS = 2_000
Vector = npt.NDArray[np.float32]
_PAINTINGS, _ABOUT = "paintings", "about"
_ADVICE = "`semart-hf index CATALOGUE --model MODEL --output INDEX` makes one."
# A picture that shows nothing has fewer levels of 255 between its darkest and its brightest pixel, made small.
_LEAST_CONTRAST, _SMALL = 8, 64


class Hit(NamedTuple):
    """A painting that was found."""

    row: int  # of the catalogue, from 0 on
    score: float  # cosine of the angle between its vector and the query's
    cells: Mapping[str, str]  # of the catalogue, without the empty ones
    labels: Mapping[str, tuple[Sequence[str], float]]  # by task what the model says, and the first one's confidence
    problem: str  # why its picture was left out; empty where it was not


class SearchIndex:
    """Paintings to be searched, as they were when the index at a folder or an object storage was last complete."""

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)
        self.about = read_about(self.address)
        if self.about["version"] is None:
            advice = "Give the same `semart-hf index` command again, which continues it."
            raise ValueError(f"Got {address}, an index that is half written. {advice}")
        if not self.about["num_rows"]:
            raise ValueError(f"Got {address}, an index without a painting: no row of its catalogue could be read.")
        with damage_explained(self.address):
            self._table = connect(self.address).open_table(_PAINTINGS)
            self._table.checkout(self.about["version"])
        self._columns = [name for name in self._table.schema.names if name not in ("key", "vector", "thumbnail")]
        columns = self.about["columns"]
        named = {name.casefold(): name for name in reversed(columns)} | {name: name for name in columns}
        self.tasks = [task for task, _ in self.about["tasks"]]
        #: The catalogue's column of each task that has one: of its name, or else of its name in other case.
        self.own_columns = {task: own for task in self.tasks if (own := named.get(task, named.get(task.casefold())))}
        #: What filters may name. A task's own name is what is suggested where no column is called so.
        self.fields = {name: Field(f"cell_{place}") for place, name in enumerate(columns)}
        for place, (task, kind) in enumerate(self.about["tasks"]):
            suggested = Field(f"label_{place}", kind)
            self.fields.setdefault(f"{task}_suggested", suggested)
            self.fields.setdefault(f"{task}_confidence", Field(f"confidence_{place}", "number"))
            if task not in self.own_columns:
                self.fields[task] = suggested

    def __len__(self) -> int:
        return int(self.about["num_rows"])

    def search(
        self, query: Vector | int, *, top_k: int = 10, where: str | None = None, exact: bool = False
    ) -> list[Hit]:
        """At most `top_k` paintings nearest to a vector `(dimension,)` of unit length, the nearest first.

        They pass the filter `where`, see `parse_filter`. Or they are like a row, which is not among them; `exact`
        leaves the approximate index out.
        """
        if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= 10_000:
            raise ValueError(f"top_k is {top_k!r}. Allowed are whole numbers from 1 to 10,000. Give one of these.")
        if not isinstance(where, str | None):
            raise ValueError(f"Got the filter {where!r}. Allowed is a text. Give one.")
        condition = parse_filter(where, self.fields) if where and where.strip() else None
        like, vector = (query, self.vector_of(query)) if isinstance(query, int) else (None, query)
        wanted, recall = top_k + (like is not None), self.about["recall"]
        with damage_explained(self.address):
            if condition is not None and recall and self._table.count_rows(condition) <= EXACT_MATCHES:
                columns = [*self._columns, "vector"]
                found = self._table.search().where(condition).select(columns).limit(EXACT_MATCHES).to_arrow()
                distances = 1 - vectors_of(found["vector"]) @ vector
                found = found.drop_columns("vector").append_column("_distance", pa.array(distances))
                rows = found.take(np.argsort(distances, kind="stable")[:wanted]).to_pylist()
            else:
                probes = None if exact or not recall else recall["probes"]
                rows = nearest(self._table, vector, wanted, self._columns, condition, probes)
        return [self._hit(row) for row in rows if row["row"] != like][:top_k]

    def hits(self, rows: Sequence[int]) -> list[Hit]:
        """The paintings of these row numbers that are in the index, in no order, with the score 1."""
        return [self._hit(row) for row in self._read(rows, self._columns)]

    def vector_of(self, row: int) -> Vector:
        """The vector `(dimension,)` of a row; a ValueError if it is not in the index."""
        found = self._read([row], ["vector"])
        if not found:
            raise ValueError(f"Got the row {row}, which is not in the index {self.address}. Rows count from 0.")
        return np.asarray(found[0]["vector"], dtype=np.float32)

    def thumbnails(self, rows: Sequence[int]) -> dict[int, bytes]:
        """A small JPEG of each of these rows that has a picture."""
        return {row["row"]: row["thumbnail"] for row in self._read(rows, ["row", "thumbnail"]) if row["thumbnail"]}

    def sample(self, most: int) -> tuple[list[Hit], Vector]:
        """All paintings, or `most` of them drawn at random, the same each time; and their vectors."""
        with damage_explained(self.address):
            table = drawn(self._table, most, [*self._columns, "vector"])
        return [self._hit(row) for row in table.drop_columns("vector").to_pylist()], vectors_of(table["vector"])

    def _read(self, rows: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        condition = f"row IN ({', '.join(str(int(row)) for row in rows if 0 <= row < 2**63) or -1})"
        with damage_explained(self.address):
            return self._table.search().where(condition).select(list(columns)).limit(max(1, len(rows))).to_list()

    def _hit(self, row: Mapping[str, Any]) -> Hit:
        cells = {name: value for place, name in enumerate(self.about["columns"]) if (value := row[f"cell_{place}"])}
        labels: dict[str, Any] = {}
        for place, (task, kind) in enumerate(self.about["tasks"]):
            found = row[f"label_{place}"] or []
            labels[task] = (found if kind == "labels" or not found else [found], row[f"confidence_{place}"])
        return Hit(row["row"], 1 - row.get("_distance", 0.0), cells, labels, row["problem"])


def connect(address: str, *, creates: bool = False) -> Any:
    """The database at an address."""
    lancedb = optional("lancedb", "search")
    if "://" not in address and not creates and not Path(address).is_dir():
        raise ValueError(f"Got {address}, where there is no index. {_ADVICE}")
    with damage_explained(address):
        return lancedb.connect(address)


def read_about(address: str) -> dict[str, Any]:
    """What an index says of itself; a ValueError if there is none, or it is of another format."""
    database, about = connect(address), dict[str, Any]()
    with damage_explained(address):
        if _ABOUT in database.list_tables().tables:
            about = json.loads(database.open_table(_ABOUT).to_arrow()["about"][0].as_py())
    if not about:
        raise ValueError(f"Got {address}, which is no index. {_ADVICE}")
    if about["format"].split(".")[0] != FORMAT.split(".")[0]:
        problem = f"Got {address}, an index of format {about['format']}, but this code reads {FORMAT}"
        raise ValueError(f"{problem}. Make it again with `semart-hf index` into another folder, or upgrade semart-hf.")
    return about


def check_weights(about: Mapping[str, Any], address: str, name: str, weights: str) -> None:
    """Raise ValueError unless a model's weights are those whose vectors an index holds."""
    if weights != about["weights"]:
        raise ValueError(
            f"Got the model {name} (weights {weights[:12]}) for {address}, an index by {about['model']} (weights "
            f"{about['weights'][:12]}). Vectors of two models cannot be compared. Give that model, or another index."
        )


@contextmanager
def damage_explained(address: str) -> Iterator[None]:
    """The context in which LanceDB's errors over what lies at an address are ValueErrors that say what to do."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        found = str(error).strip().splitlines() or [type(error).__name__]
        problem = f"of which something is missing, damaged or not to be reached ({found[0][:300]})"
        advice = "Bring it back from a copy, or make it again with `semart-hf index` into a new folder"
        raise ValueError(f"Got {address}, an index {problem}. {advice}.") from error


def write_about(database: Any, about: Mapping[str, Any]) -> None:
    """Let an index say this of itself from now on."""
    content = pa.table({"about": [json.dumps(about, allow_nan=False)]})
    database.create_table(_ABOUT, content, mode="overwrite")


def create_paintings(database: Any, about: Mapping[str, Any]) -> None:
    """An empty table of paintings, where there is none."""
    fields = {"key": pa.string(), "row": pa.int64(), "problem": pa.string(), "thumbnail": pa.binary()}
    fields["vector"] = pa.list_(pa.float32(), about["dimension"])
    fields |= {f"cell_{place}": pa.string() for place in range(len(about["columns"]))}
    for place, (_, kind) in enumerate(about["tasks"]):
        fields[f"label_{place}"] = pa.list_(pa.string()) if kind == "labels" else pa.string()
        fields[f"confidence_{place}"] = pa.float32()
    database.create_table(_PAINTINGS, schema=pa.schema(fields.items()), exist_ok=True)


def open_paintings(address: str) -> Any:
    """The table of paintings, to write into."""
    return connect(address).open_table(_PAINTINGS)


def vectors_of(column: Any) -> Vector:
    """A column of vectors as an array `(rows, dimension)`."""
    values = column.combine_chunks()
    return np.asarray(values.flatten()).reshape(len(values), -1)


def drawn(table: Any, most: int, columns: Sequence[str]) -> pa.Table:
    """The named columns and `row` of all rows of a table, or of `most` drawn at random, in the order of `row`."""
    num_rows = table.count_rows()
    chosen = np.random.default_rng(0).choice(num_rows, min(most, num_rows), replace=False).tolist()
    return table.take_offsets(chosen).select(list(dict.fromkeys(["row", *columns]))).to_arrow().sort_by("row")


def nearest(
    table: Any, vector: Vector, top_k: int, columns: Sequence[str], condition: str | None, probes: int | None
) -> list[dict[str, Any]]:
    """The rows nearest to a vector with their `_distance`, by all rows, or by `probes` partitions of the index."""
    query = table.search(vector, vector_column_name="vector").distance_type("dot").limit(top_k)
    query = query.select([*columns, "_distance"])
    if condition is not None:
        query = query.where(condition, prefilter=True)
    query = query.bypass_vector_index() if probes is None else query.nprobes(probes).refine_factor(3)
    return query.to_list()


def complete(table: Any, searched: int | None = None) -> dict[str, Any] | None:
    """Put a written table in order; of a large one make or extend the approximate index, and measure its recall."""
    num_rows, is_indexed = table.count_rows(), bool(table.list_indices())
    is_large = num_rows >= EXACT_ROWS
    if is_indexed and not is_large:
        table.drop_index("vector_idx")
    age = timedelta(milliseconds=1)
    if searched is not None:
        made = next(found["timestamp"] for found in table.list_versions() if found["version"] == searched)
        age = datetime.now() - made + timedelta(days=1)  # to compact takes time, after which versions are removed
    table.optimize(cleanup_older_than=age)
    recall = measured_recall(table) if is_indexed and is_large else None
    if is_large and (recall is None or recall["recall_at_10"] < ENOUGH_RECALL):
        from lancedb.index import IvfSq

        # With a graph in each partition (HNSW), filtered searches took two to three times the CPU, and found no more.
        config = IvfSq(distance_type="dot", num_partitions=max(1, num_rows // _PARTITION_ROWS))
        table.create_index("vector", config=config, replace=True)
        recall = measured_recall(table)
    return recall


def measured_recall(table: Any) -> dict[str, Any]:
    """The recall of the approximate index against all rows, for the fewest probes with which it is enough."""
    queries = vectors_of(drawn(table, NUM_RECALL_QUERIES, ["vector"])["vector"])

    def found(query: Vector, probes: int | None) -> set[int]:
        return {row["row"] for row in nearest(table, query, RECALL_TOP_K, ["row"], None, probes)}

    truth = [found(query, None) for query in queries]
    measured: dict[str, Any] = {}
    for probes in PROBES:
        shares = [len(found(query, probes) & best) / len(best) for query, best in zip(queries, truth, strict=True)]
        measured = {"recall_at_10": float(np.mean(shares)), "num_queries": len(queries), "probes": probes}
        if measured["recall_at_10"] >= ENOUGH_RECALL:
            break
    return measured


def summed(features: Mapping[str, Any]) -> Vector:
    """One vector of unit length `(paintings, dimension)` of what there is of each: its picture, its text, or both."""
    vectors = features["image"] + features["text"]
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def query_vector(classify: Any, text: str | None = None, image: Any = None) -> tuple[Vector, list[str]]:
    """The vector `(dimension,)` of unit length of words, a picture, or both together, and what to know about it."""
    if not isinstance(text, str | None):
        raise ValueError(f"Got the text {str(text)[:80]!r} of type {type(text).__name__}. Give a string.")
    text = (text or "").strip() or None
    if text is None and image is None:
        raise ValueError("Got an empty query. Give words, a picture, or both.")
    notices = []
    if text is not None:
        notices += _about_words(text, classify.processor.tokenizer)
        if not classify.model.config.contrastive:
            notices.append(
                "This model was trained without contrastive_weight: words find paintings by their texts alone. Train "
                "it with contrastive_weight to search pictures by words."
            )
    painting = {} if text is None else {"text": text}
    if image is not None:
        picture = load_picture(image)
        small = picture.resize((_SMALL, _SMALL), reducing_gap=2.0)
        if max(high - low for low, high in small.getextrema()) < _LEAST_CONTRAST:
            raise ValueError("Got a picture of one colour, which shows nothing to look for. Give another picture.")
        painting["image"] = picture
    return summed(classify.embed([painting], on_error="raise"))[0], notices


def _about_words(text: str, tokenizer: Any) -> list[str]:
    """What to know where the text tower's vocabulary lacks half of the words, or an error where it lacks all."""
    words = re.findall(r"\w+", text)
    pieces = {word: tokenizer.tokenize(word) for word in words}
    read = [word for word in words if {*pieces[word]} - {tokenizer.unk_token}]
    knows = "It knows the language of the texts that it was trained on: ask in that language."
    if not read:
        raise ValueError(f"Got the query {text!r}, of which the text tower's vocabulary knows no word. {knows}")
    whole = [word for word in read if len(pieces[word]) == 1]
    if 2 * len(whole) > len(words):
        return []
    known = f"knows of the {len(words)} words {', '.join(map(repr, whole))}" if whole else "knows no whole word"
    return [f"The text tower's vocabulary {known}; it reads the others in pieces, or not at all. {knows}"]
