"""How long an index of made vectors takes to write and to search, how large it is, and what it finds."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.turns import spread
from semart_hf.search.vector_index import SearchIndex, complete, connect, create_paintings, open_paintings, write_about

DIMENSION, CLUSTERS, CLUSTER_NOISE = 512, 1_000, 1.5
SCHOOLS = ("Italian", "Dutch", "French", "Flemish", "German", "Spanish", "English", "Netherlandish")
BATCH_ROWS = 20_000
NUM_QUERIES = 50
COLUMNS = ["IMAGE_FILE", "TITLE", "SCHOOL", "YEAR"]
FILTERS = {
    "a filter that one in eight passes": "school = 'Dutch'",
    "one that 17 in 100 pass": "school in ('Italian', 'Dutch', 'French') and year < 1600",
    "one that one in 1,000 passes": "title = 'Painting 7'",
}
ABOUT = {"format": "1.0", "dimension": DIMENSION, "columns": COLUMNS, "tasks": [["type", "text"]]}


def measure_search(options: argparse.Namespace) -> dict[str, Any]:
    """Figures by number of rows."""
    found = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
            print(f"Indexing {rows:,} made vectors of {DIMENSION} numbers ...", flush=True)
            address = str(Path(folder, "index"))
            figures = in_process(write_index, address, rows)
            figures["bytes"] = sum(path.stat().st_size for path in Path(address).rglob("*") if path.is_file())
            found[str(rows)] = {**figures, "search": in_process(search_index, address)}
    return {"dimension": DIMENSION, "clusters": CLUSTERS, "rows": found}


def in_process(function: Any, *arguments: Any) -> dict[str, Any]:
    """What a function gives in a process of its own, and that process's peak memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(function, arguments)
        usage = pool.apply(resource.getrusage, (resource.RUSAGE_SELF,))
    return {**found, "peak_mb": usage.ru_maxrss // 1024}


def made_rows(start: int, count: int, centres: np.ndarray) -> pa.Table:
    """Rows whose vectors lie around one of the centres."""
    chance = np.random.default_rng(start)
    vectors = centres[chance.integers(0, CLUSTERS, count)]
    vectors = vectors + CLUSTER_NOISE * chance.standard_normal((count, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = range(start, start + count)
    return pa.table(
        {
            "key": [f"{number:032x}" for number in numbers],
            "row": list(numbers),
            "problem": [""] * count,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION),
            "cell_0": [f"{number:08d}.jpg" for number in numbers],
            "cell_1": [f"Painting {number % 1000}" for number in numbers],
            "cell_2": [SCHOOLS[number % len(SCHOOLS)] for number in numbers],
            "cell_3": [str(1300 + number * 7 % 600) for number in numbers],
            "label_0": ["portrait" if number % 3 else "landscape" for number in numbers],
            "confidence_0": pa.array([0.5] * count, pa.float32()),
        }
    )


def write_index(address: str, rows: int) -> dict[str, Any]:
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, DIMENSION), dtype=np.float32)
    database = connect(address, creates=True)
    create_paintings(database, ABOUT)
    table, seconds = open_paintings(address), 0.0
    for start in range(0, rows, BATCH_ROWS):
        some = made_rows(start, min(BATCH_ROWS, rows - start), centres)
        begun = time.perf_counter()
        table.add(some)
        seconds += time.perf_counter() - begun
    begun = time.perf_counter()
    recall = complete(table)
    index_seconds = time.perf_counter() - begun
    write_about(database, {**ABOUT, "version": table.version, "num_rows": rows, "recall": recall})
    return {"write_seconds": round(seconds, 1), "complete_seconds": round(index_seconds, 1), "recall": recall}


def search_index(address: str) -> dict[str, Any]:
    """Milliseconds of searches, and which share of the ten nearest these find."""
    index = SearchIndex(address)
    rows = np.random.default_rng(1).choice(len(index), NUM_QUERIES, replace=False).tolist()
    queries = [index.vector_of(row) for row in rows]
    found = {}
    for name, where in {"all paintings": None, **FILTERS}.items():
        index.search(queries[0], where=where)
        times, shares = [], []
        for number, query in enumerate(queries):
            begun = time.perf_counter()
            hits = index.search(query, where=where)
            times.append(1000 * (time.perf_counter() - begun))
            if number < NUM_QUERIES // 5:
                best = {hit.row for hit in index.search(query, where=where, exact=True)}
                shares.append(len(best & {hit.row for hit in hits}) / len(best))
        found[name] = {"milliseconds": spread(times), "recall": round(float(np.mean(shares)), 3)}
    begun = time.perf_counter()
    for query in queries[:10]:
        index.search(query, exact=True)
    exact = 100 * (time.perf_counter() - begun)
    return {"exact_milliseconds": round(exact, 1), "queries": found}
