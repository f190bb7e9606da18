"""What was found, as JSON and as pages: one that is written, and the application's tabs for search and map."""

import base64
import io
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semart_hf.catalogue.picture_files import find_picture
from semart_hf.collection.sources import added_columns
from semart_hf.documents.page import data_uri, notice, refusal, render_page, to_jpeg
from semart_hf.files import write_text
from semart_hf.model.loading_semart import digest_of_weights

from .filters import parse_filter
from .vector_index import Hit, SearchIndex, Vector, check_weights, query_vector

WALL_SIZE = 24
#: Pixels of the longer side of the painting that was chosen.
PREVIEW_SIZE = 900
#: More paintings than this are a sample on the map.
MOST_POINTS = 20_000
_MOST_COLOURS = 10
_MOST_TITLE = 80
_QUERY_KEYS = ("text", "image", "where", "like", "top_k")
_FRAME = '<iframe srcdoc="{}" title="Map of the collection" style="width: 100%; height: 80vh; border: 0"></iframe>'


def hit_json(hit: Hit) -> dict[str, Any]:
    """A hit as JSON: row, score, cells, and by task what is suggested."""
    suggested = {task: {"labels": [*labels], "confidence": score} for task, (labels, score) in hit.labels.items()}
    problem = {"problem": hit.problem} if hit.problem else {}
    return {"row": hit.row, "score": round(hit.score, 6), "cells": dict(hit.cells), "suggested": suggested, **problem}


def title_of(hit: Hit) -> str:
    """The painting's title, as far as the catalogue has a column of that name."""
    named = {name.casefold(): value for name, value in hit.cells.items()}
    return named.get("title") or named.get("name") or f"row {hit.row}"


def label_of(index: SearchIndex, hit: Hit, task: str, *, with_confidence: bool = True) -> str:
    """The catalogue's own label where it has one, else the model's with its confidence: `Dutch 87%`."""
    own = hit.cells.get(index.own_columns[task]) if task in index.own_columns else None
    labels, confidence = hit.labels[task]
    sureness = f" {confidence:.0%}" if labels and with_confidence else ""
    return own or ", ".join(labels) + sureness or "–"


def own_cells(hit: Hit) -> dict[str, str]:
    """The catalogue's cells without those that `semart-hf predict` writes, which are said once."""
    written = set(added_columns([*hit.labels]))
    return {name: value for name, value in hit.cells.items() if name not in written}


def write_results(path: Path, index: SearchIndex, hits: Sequence[Hit], asked: str, where: str | None) -> None:
    """Write a page of what was found, which needs no other file."""
    jpegs = index.thumbnails([hit.row for hit in hits])
    shown = []
    for hit in hits:
        labels = {task: label_of(index, hit, task) for task in hit.labels}
        shown.append((hit, title_of(hit), labels, own_cells(hit), jpegs.get(hit.row)))
    write_text(path, render_page("search.html", title=asked, asked=asked, where=where, hits=shown, total=len(index)))


def label_filter(index: SearchIndex, chosen: Mapping[str, Sequence[str]]) -> str:
    """A filter for the paintings that have one of the chosen labels of each task, which `label_of` would give."""
    parts = []
    for task, labels in chosen.items():
        values = ", ".join("'{}'".format(label.replace("'", "''")) for label in labels)
        part = f'"{task}_suggested" in ({values})'
        if own := index.own_columns.get(task):
            name = '"{}"'.format(own.replace('"', '""'))
            part = f"({name} in ({values}) or {name} = '' and {part})"
        if labels:
            parts.append(part)
    return " and ".join(parts)


def map_page(index: SearchIndex) -> str:
    """The map of an index as HTML; it asks the application that frames it for thumbnails."""
    hits, vectors = index.sample(MOST_POINTS)
    points = np.round(two_dimensions(vectors), 4)
    labels = {task: [label_of(index, hit, task, with_confidence=False) for hit in hits] for task in index.tasks}
    content = {
        "x": points[:, 0].tolist(),
        "y": points[:, 1].tolist(),
        "rows": [hit.row for hit in hits],
        "titles": [title_of(hit)[:_MOST_TITLE] for hit in hits],
        "tasks": [{"name": task, **coloured(found)} for task, found in labels.items()],
    }
    total = f"{len(index):,} paintings"
    note = total if len(hits) == len(index) else f"{len(hits):,} of {total}, drawn at random"
    return render_page("map.html", title="Map of the collection", content=content, note=note)


def two_dimensions(vectors: Vector) -> Vector:
    """The two principal components `(rows, 2)`, each between 0 and 1, of signs that make it the same map each time."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    points = centred @ axes[:, :-3:-1].astype(np.float32)
    points *= np.sign(points[np.abs(points).argmax(axis=0), range(points.shape[1])])
    spread = np.maximum(np.ptp(points, axis=0), np.finfo(np.float32).tiny)
    return ((points - points.min(axis=0)) / spread).astype(np.float32)


def coloured(labels: Sequence[str]) -> dict[str, Any]:
    """The labels that have a colour, the most frequent first, `others` last; and of each painting which it has."""
    names = [label for label, _ in Counter(labels).most_common(_MOST_COLOURS)]
    places = {label: place for place, label in enumerate(names)}
    colours = [places.get(label, len(names)) for label in labels]
    return {"labels": [*names, *(["others"] if len(names) in colours else [])], "colours": colours}


class SearchPage:
    """What the tab's parts do; each gives what they show, and no error but a sentence in words."""

    def __init__(self, address: str, classify: Any, name: str) -> None:
        self.index, self.classify, self._map = SearchIndex(address), classify, ""
        check_weights(self.index.about, self.index.address, name, digest_of_weights(classify.model))

    def search(
        self, text: str | None, picture: str | None, where: str | None, row: int | None, *chosen: Sequence[str]
    ) -> list[Any]:
        """Message, wall of pictures and row numbers for words, a picture, both, or a row to be like."""
        try:
            by_labels = label_filter(self.index, dict(zip(self.index.tasks, chosen, strict=True)))
            if where and where.strip():
                parse_filter(where, self.index.fields)  # it is whole by itself, whatever is joined to it
            condition = " and ".join(f"({part})" for part in (where or "", by_labels) if part.strip()) or None
            query, notices = self._query(text, picture, row)
            hits = self.index.search(query, top_k=WALL_SIZE, where=condition)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            return [refusal(error, picture), [], []]
        jpegs = self.index.thumbnails([hit.row for hit in hits])
        grey = Image.new("RGB", (160, 120), (128, 128, 128))
        pictures = {row: Image.open(io.BytesIO(jpeg)).convert("RGB") for row, jpeg in jpegs.items()}
        wall = [(pictures.get(hit.row, grey), f"{hit.score:.2f}  {title_of(hit)}") for hit in hits]
        message = " ".join(notices) if hits else "No painting passes the filter."
        return [notice(message), wall, [hit.row for hit in hits]]

    def found(self, row: int | None) -> str:
        """A painting of the wall: its picture, its cells, and what the model says."""
        if row is None:
            return ""
        hit = self.index.hits([row])[0]
        name = hit.cells.get(self.index.about["image_column"] or "")
        file = find_picture(self.index.about["images"], name) if name else None
        jpeg = to_jpeg(file, PREVIEW_SIZE) if isinstance(file, Path) else None  # where the originals are here
        jpeg = jpeg or self.index.thumbnails([row]).get(row)
        picture = f'<img alt="" src="{data_uri(jpeg)}">' if jpeg else ""
        listed = [*own_cells(hit).items()]
        for task, (labels, score) in hit.labels.items():
            listed.append((f"{task} (suggested)", f"{', '.join(labels)} {'' if score is None else f'{score:.0%}'}"))
        cells = "".join(f"<dt>{escape(name)}<dd>{escape(value)}" for name, value in [("row", str(row)), *listed])
        return f"{picture}<dl>{cells}</dl>"

    def map(self) -> str:
        """The map in a frame; it is drawn once."""
        if not self._map:
            self._map = _FRAME.format(escape(map_page(self.index)))
        return self._map

    def search_json(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """What is found for `{"text", "image", "where", "like", "top_k"}`; the image is a file's content in base64."""
        if not isinstance(query, dict) or not set(query) <= set(_QUERY_KEYS):
            raise ValueError(f"Got the query {str(query)[:200]}. Allowed is an object with the keys {[*_QUERY_KEYS]}.")
        text, image, where, row, top_k = (query.get(name) for name in _QUERY_KEYS)
        if image is not None:
            try:
                image = base64.b64decode(image, validate=True)
            except (TypeError, ValueError) as error:
                raise ValueError("Got an image that is no base64. Give the content of a picture's file.") from error
        found, _ = self._query(text, image, row)
        hits = self.index.search(found, top_k=10 if top_k is None else top_k, where=where)
        return [hit_json(hit) for hit in hits]

    def thumbnail(self, row: int) -> str:
        """A painting's thumbnail as an address of data; empty where it has none."""
        jpeg = self.index.thumbnails([int(row)]).get(int(row))
        return data_uri(jpeg) if jpeg else ""

    def _query(self, text: Any, picture: Any, row: Any) -> tuple[Vector | int, list[str]]:
        """What `SearchIndex.search` takes, and what to know about it."""
        if row is None:
            return query_vector(self.classify, text, picture)
        if isinstance(row, bool) or not isinstance(row, int):
            raise ValueError(f"Got the row {row!r}. Allowed are whole numbers from 0 on.")
        if text is not None or picture is not None:
            raise ValueError("Got a row to be like and words or a picture. Give one of the two.")
        return row, [f"More like row {row}."]


def add_search(gradio: Any, page: SearchPage, tabs: Any, review: Any = None) -> None:
    """Put the search and the map into tabs of an application, and `/search` and `/thumbnail` into its API."""
    with gradio.Tab("Search", id="search"):
        rows, row, none = gradio.State([]), gradio.State(None), gradio.State(None)
        with gradio.Row():
            text = gradio.Textbox(label="Words", elem_id="words", placeholder="a storm at sea", scale=2)
            example = "school = 'Dutch' and timeframe < '1701'"
            where = gradio.Textbox(label="Filter", elem_id="filter", placeholder=example)
        with gradio.Row():
            chosen = [
                gradio.Dropdown(page.classify.model.config.labels(task), label=task.capitalize(), multiselect=True)
                for task in page.index.tasks
            ]
        with gradio.Row():
            picture = gradio.File(label="Picture", type="filepath", height=140, elem_id="query-picture")
            button = gradio.Button("Search", variant="primary", elem_id="search")
        message = gradio.HTML(elem_id="search-message")
        with gradio.Row():
            fixed = {"allow_preview": False, "height": 760, "scale": 3, "object_fit": "contain", "buttons": []}
            wall = gradio.Gallery(label="Found", elem_id="wall", **fixed)
            with gradio.Column():
                more = gradio.Button("More like this", elem_id="more", interactive=False)
                opened = gradio.Button("Open in the review", visible=review is not None, interactive=False)
                found = gradio.HTML(elem_id="found")
    with gradio.Tab("Map", id="map") as map_tab:
        framed = gradio.HTML()
        clicked = gradio.Textbox(visible="hidden", elem_id="map-row")

    def selected(number: int) -> list[Any]:
        return [number, page.found(number), gradio.Button(interactive=True), gradio.Button(interactive=True)]

    def on_select(found_rows: list[int], event: gradio.SelectData) -> list[Any]:
        return selected(found_rows[event.index])

    def on_map(value: str) -> list[Any]:
        number = int(value.split()[0])
        like_it = page.search(None, None, None, number, *([] for _ in page.index.tasks))
        return [*like_it, *selected(number), gradio.Tabs(selected="search")]

    def on_open(number: int) -> list[Any]:
        return [(number, page.index.hits([number])[0].cells, time.time()), gradio.Tabs(selected="review")]

    options = {"api_visibility": "private"}
    shown, detail = [message, wall, rows], [row, found, more, opened]
    asked = [text, picture, where]
    for event in (button.click, text.submit, where.submit):
        event(page.search, [*asked, none, *chosen], shown, api_name="search_tab", **options)
    wall.select(on_select, rows, detail, **options)
    more.click(page.search, [none, none, where, row, *chosen], shown, api_name="search_tab", **options)
    map_tab.select(page.map, None, framed, **options)
    clicked.change(on_map, clicked, [*shown, *detail, tabs], **options)
    if review is not None:
        opened.click(on_open, row, [review, tabs], **options)
    gradio.api(page.search_json, api_name="search")
    gradio.api(page.thumbnail, api_name="thumbnail")
