"""A map of a collection: its paintings in two dimensions, coloured by a task, as a page that needs no other file."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from semart_hf.documents.page import render_page

from .vector_index import SearchIndex, Vector, vectors_of

#: More paintings than this are a sample.
MOST_POINTS = 20_000
_MOST_COLOURS = 10
_MOST_TITLE = 80


def two_dimensions(vectors: Vector) -> Vector:
    """The two principal components `(rows, 2)`, each between 0 and 1, of signs that make it the same map each time."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    points = centred @ axes[:, :-3:-1].astype(np.float32)
    points *= np.sign(points[np.abs(points).argmax(axis=0), range(points.shape[1])])
    spread = np.maximum(np.ptp(points, axis=0), np.finfo(np.float32).tiny)
    return ((points - points.min(axis=0)) / spread).astype(np.float32)


def map_content(index: SearchIndex) -> dict[str, Any]:
    """What the map shows, as JSON: of each painting `x`, `y`, `rows` and `titles`, and its colour of each task."""
    tasks = [task for task, _ in index.about["tasks"]]
    suggested = {task: f"label_{place}" for place, task in enumerate(tasks)}
    named = {name.casefold(): f"cell_{place}" for place, name in enumerate(index.about["columns"])}
    known = {task: f"cell_{index.about['columns'].index(own)}" for task, own in index.own_columns.items()}
    title = named.get("title") or named.get("name") or named.get((index.about["image_column"] or "").casefold())
    columns = [*suggested.values(), *known.values(), *filter(None, [title])]
    table = index.sample(MOST_POINTS, ["vector", *columns])
    points = np.round(two_dimensions(vectors_of(table["vector"])), 4)
    shown = []
    for task in tasks:
        own = table[known[task]].to_pylist() if task in known else [None] * len(table)
        answers = [" | ".join(one) if isinstance(one, list) else one for one in table[suggested[task]].to_pylist()]
        labels = [label or answer or "–" for label, answer in zip(own, answers, strict=True)]
        shown.append({"name": task, **coloured(labels)})
    return {
        "x": points[:, 0].tolist(),
        "y": points[:, 1].tolist(),
        "rows": table["row"].to_pylist(),
        "titles": [(text or "")[:_MOST_TITLE] for text in (table[title].to_pylist() if title else [""] * len(table))],
        "tasks": shown,
        "total": len(index),
    }


def coloured(labels: Sequence[str]) -> dict[str, Any]:
    """The labels that have a colour, the most frequent first, `others` last; and of each painting which it has."""
    names = [label for label, _ in Counter(labels).most_common(_MOST_COLOURS)]
    places = {label: place for place, label in enumerate(names)}
    colours = [places.get(label, len(names)) for label in labels]
    return {"labels": [*names, *(["others"] if len(names) in colours else [])], "colours": colours}


def map_page(index: SearchIndex) -> str:
    """The map of an index as HTML; it asks the application that frames it for thumbnails."""
    content = map_content(index)
    num_shown, total = len(content["rows"]), content["total"]
    note = f"{total:,} paintings" if num_shown == total else f"{num_shown:,} of {total:,} paintings, drawn at random"
    return render_page("map.html", title="Map of the collection", content=content, note=note)
