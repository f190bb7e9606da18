"""An index of paintings in LanceDB: of each a vector, the catalogue's cells, the model's labels and a thumbnail."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from semart_hf.extras import optional

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


class Hit(NamedTuple):
    """A painting that was found.

    Attributes:
        row: Its number in the catalogue, from 0 on.
        score: Cosine of the angle between its vector and the query's.
        cells: Of the catalogue, without the empty ones.
        labels: By task what the model says: labels and the confidence of the first.
        problem: Why its picture was left out; empty where it was not.
    """

    row: int
    score: float
    cells: Mapping[str, str]
    labels: Mapping[str, tuple[Sequence[str], float]]
    problem: str


class SearchIndex:
    """Paintings to be searched, as they were when the index at a folder or an object storage was last complete."""

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)
        self.about = read_about(self.address)
        if self.about["version"] is None:
            raise ValueError(
                f"Got {address}, an index that is half written. Give the same `semart-hf index` command again, which "
                "continues it."
            )
        if not self.about["num_rows"]:
            raise ValueError(f"Got {address}, an index without a painting: no row of its catalogue could be read.")
        with damage_explained(self.address):
            self._table = connect(self.address).open_table(_PAINTINGS)
            self._table.checkout(self.about["version"])
        self.fields, self.own_columns = fields_of(self.about), own_columns(self.about)
        self._columns = ["row", "problem", *(field.name for field in stored_fields(self.about))]

    def __len__(self) -> int:
        return int(self.about["num_rows"])

    def search(
        self,
        vector: Vector,
        *,
        top_k: int = 10,
        where: str | None = None,
        exact: bool = False,
        without: int | None = None,
    ) -> list[Hit]:
        """The paintings nearest to a vector `(dimension,)` of unit length, the nearest first.

        Args:
            vector: Of `query_vector` or `vector_of`.
            top_k: At most so many.
            where: Filter that they pass; see `parse_filter`.
            exact: Whether the approximate index is left out.
            without: A row that is not wanted, because the others are to be like it.
        """
        if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= 10_000:
            raise ValueError(f"top_k is {top_k!r}. Allowed are whole numbers from 1 to 10,000. Give one of these.")
        if not isinstance(where, str | None):
            raise ValueError(f"Got the filter {where!r}. Allowed is a text. Give one.")
        condition = parse_filter(where, self.fields) if where and where.strip() else None
        with damage_explained(self.address):
            hits = self._nearest(vector, top_k + (without is not None), condition, exact)
        return [hit for hit in hits if hit.row != without][:top_k]

    def _nearest(self, vector: Vector, wanted: int, condition: str | None, exact: bool) -> list[Hit]:
        recall = self.about["recall"]
        if condition is not None and recall and self._table.count_rows(condition) <= EXACT_MATCHES:
            columns = [*self._columns, "vector"]
            found = self._table.search().where(condition).select(columns).limit(EXACT_MATCHES).to_arrow()
            distances = 1 - vectors_of(found["vector"]) @ vector
            best = np.argsort(distances, kind="stable")[:wanted]
            return self._hits(found.drop_columns("vector").take(best).to_pylist(), distances[best].tolist())
        probes = None if exact or not recall else recall["probes"]
        rows = nearest(self._table, vector, wanted, self._columns, condition, probes)
        return self._hits(rows, [row["_distance"] for row in rows])

    def hits(self, rows: Sequence[int]) -> list[Hit]:
        """The paintings of these row numbers that are in the index, in no order, with the score 1."""
        found = self._read(rows, self._columns)
        return self._hits(found, [0.0] * len(found))

    def vector_of(self, row: int) -> Vector:
        """The vector `(dimension,)` of a row; a ValueError if it is not in the index."""
        found = self._read([row], ["vector"])
        if not found:
            raise ValueError(f"Got the row {row}, which is not in the index {self.address}. Rows count from 0.")
        return np.asarray(found[0]["vector"], dtype=np.float32)

    def thumbnails(self, rows: Sequence[int]) -> dict[int, bytes]:
        """A small JPEG of each of these rows that has a picture."""
        return {row["row"]: row["thumbnail"] for row in self._read(rows, ["row", "thumbnail"]) if row["thumbnail"]}

    def sample(self, most: int, columns: Sequence[str]) -> pa.Table:
        """The named columns of all rows, or of `most` of them drawn at random, the same each time."""
        with damage_explained(self.address):
            return drawn(self._table, most, columns)

    def _read(self, rows: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        condition = f"row IN ({', '.join(str(int(row)) for row in rows) or -1})"
        with damage_explained(self.address):
            return self._table.search().where(condition).select(list(columns)).limit(max(1, len(rows))).to_list()

    def _hits(self, rows: Iterable[Mapping[str, Any]], distances: Iterable[float]) -> list[Hit]:
        hits = []
        for row, distance in zip(rows, distances, strict=True):
            cells = {name: row[f"cell_{place}"] for place, name in enumerate(self.about["columns"])}
            labels: dict[str, Any] = {}
            for place, (task, kind) in enumerate(self.about["tasks"]):
                found = row[f"label_{place}"] or []
                labels[task] = (found if kind == "labels" or not found else [found], row[f"confidence_{place}"])
            kept = {name: value for name, value in cells.items() if value}
            hits.append(Hit(row["row"], 1 - distance, kept, labels, row["problem"]))
        return hits


def connect(address: str, *, creates: bool = False) -> Any:
    """The database at an address."""
    lancedb = optional("lancedb", "search")
    if "://" not in address and not creates and not Path(address).is_dir():
        raise ValueError(f"Got {address}, where there is no index. `semart-hf index CATALOGUE --output` makes one.")
    with damage_explained(address):
        return lancedb.connect(address)


def read_about(address: str) -> dict[str, Any]:
    """What an index says of itself; a ValueError if there is none, or it is of another format."""
    database = connect(address)
    with damage_explained(address):
        names = table_names(database)
    if _ABOUT not in names:
        raise ValueError(f"Got {address}, which is no index. `semart-hf index CATALOGUE --output INDEX` makes one.")
    with damage_explained(address):
        about: dict[str, Any] = json.loads(database.open_table(_ABOUT).to_arrow()["about"][0].as_py())
    if about["format"].split(".")[0] != FORMAT.split(".")[0]:
        raise ValueError(
            f"Got {address}, an index of format {about['format']}, but this code reads {FORMAT}. Make it again with "
            "`semart-hf index` into another folder, or upgrade semart-hf."
        )
    return about


@contextmanager
def damage_explained(address: str) -> Iterator[None]:
    """The context in which LanceDB's errors over what lies at an address are ValueErrors that say what to do."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        found = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"Got {address}, an index of which something is missing, damaged or not to be reached ({found[0][:300]}). "
            "Bring it back from a copy, or make it again with `semart-hf index` into a new folder."
        ) from error


def write_about(database: Any, about: Mapping[str, Any]) -> None:
    """Let an index say this of itself from now on."""
    mode = "overwrite" if _ABOUT in table_names(database) else "create"
    database.create_table(_ABOUT, pa.table({"about": [json.dumps(about, allow_nan=False)]}), mode=mode)


def table_names(database: Any) -> list[str]:
    """Names of a database's tables."""
    return list(database.list_tables().tables)


def create_paintings(database: Any, about: Mapping[str, Any]) -> None:
    """An empty table of paintings, where there is none."""
    kinds = {"text": pa.string(), "number": pa.float32(), "labels": pa.list_(pa.string())}
    own = {"key": pa.string(), "row": pa.int64(), "problem": pa.string(), "thumbnail": pa.binary()}
    vector = ("vector", pa.list_(pa.float32(), about["dimension"]))
    fields = [(field.name, kinds[field.kind]) for field in stored_fields(about)]
    database.create_table(_PAINTINGS, schema=pa.schema([*own.items(), vector, *fields]), exist_ok=True)


def open_paintings(address: str) -> Any:
    """The table of paintings, to write into."""
    return connect(address).open_table(_PAINTINGS)


def stored_fields(about: Mapping[str, Any]) -> list[Field]:
    """The catalogue's cells, and of each task its labels and their confidence, as the table has them."""
    labels = [Field(f"label_{place}", kind) for place, (_, kind) in enumerate(about["tasks"])]
    confidences = [Field(f"confidence_{place}", "number") for place in range(len(labels))]
    return [*(Field(f"cell_{place}") for place in range(len(about["columns"]))), *labels, *confidences]


def fields_of(about: Mapping[str, Any]) -> dict[str, Field]:
    """What filters may name: the catalogue's columns, and of each task `TASK_suggested` and `TASK_confidence`.

    A catalogue's own columns of these names win; a task's own name is what is suggested where no column is called so.
    """
    fields, own = {name: Field(f"cell_{place}") for place, name in enumerate(about["columns"])}, own_columns(about)
    for place, (task, kind) in enumerate(about["tasks"]):
        suggested = Field(f"label_{place}", kind)
        fields.setdefault(f"{task}_suggested", suggested)
        fields.setdefault(f"{task}_confidence", Field(f"confidence_{place}", "number"))
        if task not in own:
            fields[task] = suggested
    return fields


def own_columns(about: Mapping[str, Any]) -> dict[str, str]:
    """The catalogue's column of each task that has one: of its name, or else of its name in other case."""
    columns = about["columns"]
    named = {name.casefold(): name for name in reversed(columns)} | {name: name for name in columns}
    return {task: own for task, _ in about["tasks"] if (own := named.get(task, named.get(task.casefold())))}


def vectors_of(column: Any) -> Vector:
    """A column of vectors as an array `(rows, dimension)`."""
    values = column.combine_chunks()
    return np.asarray(values.flatten()).reshape(len(values), -1)


def drawn(table: Any, most: int, columns: Sequence[str]) -> pa.Table:
    """The named columns and `row` of all rows of a table, or of `most` of them; in the order of `row`."""
    num_rows = table.count_rows()
    query = table.search().select(list(dict.fromkeys(["row", *columns]))).limit(max(1, num_rows))
    if num_rows > most:
        rows = np.sort(np.asarray(table.search().select(["row"]).limit(num_rows).to_arrow()["row"]))
        chosen = np.random.default_rng(0).choice(rows, most, replace=False)
        query = query.where(f"row IN ({', '.join(map(str, chosen))})")
    return query.to_arrow().sort_by("row")


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
