"""The page on which people decide about a catalogue's suggestions, by mouse, by touch or by keys alone."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from semart_hf.catalogue.text import unescaped
from semart_hf.documents.page import notice, small_picture

from .labelled_rows import export_decisions
from .own_format import Row, printable
from .review import BY_GAIN, ORDERS, Painting, Review, Suggestion
from .sources import Source, added_columns, filled_columns, joined, split_labels

NUM_CHOICES, MOST_OFFERED = 5, 1000  # labels on buttons; in the field below, where others are written
Explain = Callable[[dict[str, Any]], str]


class ReviewPage:
    """What the page's buttons do: each gives what all its parts show, or raises what stands beside what comes `next`.

    `asked` are the reviewer's name, and the order, the task and the suggested label that they have chosen. The labels
    are those that the model knows, by task; `explain` gives HTML about a painting `{"image", "text"}`.
    """

    def __init__(self, review: Review, source: Source, labels: Mapping[str, list[str]], explain: Explain) -> None:
        self.review, self.source, self.labels, self._explain = review, source, labels, explain
        self._exports = tempfile.TemporaryDirectory(prefix="semart_hf-")  # gone with the application
        self._progress, self._counted_again = "", 0.0

    def next(self, *asked: str, message: str = "") -> list[Any]:
        """The painting that comes next for somebody."""
        reviewer, order, task, label = asked
        try:
            painting = self.review.next_painting(_name(reviewer), order, task=task or None, label=label or None)
        except (ValueError, OSError) as error:
            return self._shown(None, None, str(error))
        return self._shown(painting, self._open_task(painting, order, task, label), message)

    def decide(self, row: int | None, decided: str | None, answer: str | None, *asked: str) -> list[Any]:
        """Keep an answer about the task that is shown (`None` skips it), and show what is open next."""
        if row is None or decided is None:
            return self.next(*asked)
        if answer is not None and not answer.strip():
            raise ValueError("Choose a label or write one first.")
        self.keep(row, decided, answer or "", asked[0])
        return self.next(*asked)

    def open(self, found: tuple[int, Mapping[str, str], float], *asked: str) -> list[Any]:
        """A painting that somebody has found elsewhere: its row, cells, and when."""
        (row, cells, _), (reviewer, order, task, label) = found, asked
        _name(reviewer)
        painting = self.review.painting(row)
        if any(unescaped(painting.cells.get(name, value)) != value for name, value in cells.items()):
            raise ValueError(f"Row {row} is another painting here: the index is of another catalogue.")
        wanted = self._open_task(painting, order, task, label) or self._open_task(painting, order)
        if wanted is None:
            raise ValueError(f"Nothing is left to decide about row {row + 1}.")
        return self._shown(painting, wanted, "")

    def choose(
        self, row: int | None, decided: str | None, chosen: str | None, answer: str | None, *asked: str
    ) -> list[Any]:
        """Keep an answer, or of a task with several labels put it among the chosen or take it out; see `decide`."""
        separator = self.source.separators.get(decided or "")
        if row is None or separator is None:
            return self.decide(row, decided, answer or "", *asked)
        pressed = split_labels(answer or "", separator)
        kept = joined(sorted({*split_labels(chosen, separator)} ^ {*pressed}), separator)
        message = "" if pressed else "Choose a label or write one first."
        return self._shown(self.review.painting(row), decided, message, kept)

    def undo(self, *asked: str) -> list[Any]:
        """Take back somebody's last decision."""
        undone = self.review.undo(_name(asked[0]))
        if undone is None:
            raise ValueError("You have decided nothing that could be taken back.")
        return self._shown(*undone, "")

    def explain(self, row: int | None) -> str:
        """What spoke for the answers."""
        try:
            return "" if row is None else self._explain(self.source.painting(Row(self.review.painting(row).cells))[0])
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            return notice(str(error))

    def export(self) -> tuple[list[str], str]:
        """The reviewed catalogue and what was changed, as files, and a sentence."""
        path = self.source.catalogue.path
        output = Path(tempfile.mkdtemp(dir=self._exports.name), f"{path.stem}.reviewed{path.suffix}")
        try:
            count = export_decisions(self.review, self.source, output)
        except (ValueError, OSError) as error:
            return [], notice(str(error))
        return [str(output), f"{output}.changes.csv"], notice(f"{count:,} decisions, and what they change.")

    def progress(self) -> str:
        """Table of what is done, by task; of a large catalogue it is counted again at times only."""
        begun = time.monotonic()
        if begun < self._counted_again:
            return self._progress
        head = ("task", "open", "decided", "skipped", "as suggested", "right among the open (estimate)")
        table = f"<tr><th>{'<th>'.join(head)}"
        for task, found in self.review.progress().items():
            rest = found["estimated_accuracy"]
            agreement = "–" if found["agreement"] is None else f"{found['agreement']:.0%}"
            estimate = "–" if rest is None else f"{rest['mean']:.0%} ({rest['low']:.0%} to {rest['high']:.0%})"
            cells = [escape(task), *(f"{found[name]:,}" for name in head[1:4]), agreement, estimate]
            table += "<tr>" + "".join(map('<td data-column="{}">{}'.format, head, cells))
        self._progress = f"<table>{table}</table>"
        self._counted_again = time.monotonic() + 10 * (time.monotonic() - begun)
        return self._progress

    def keep(self, row: int, task: str, label: str, reviewer: str) -> None:
        """Keep a decision; no label skips."""
        name, separator, known = _name(reviewer), self.source.separators.get(task), {*self.labels.get(task, [])}
        parts = split_labels(label, separator) if separator else [label] * bool(label.strip())
        parts = [part if part in known else printable(part).strip() for part in parts]  # one may have a line break
        self.source.catalogue.check_labels([*parts, name])
        is_new = not {*parts} <= known
        self.review.decide(row, task, joined(parts, separator or "") or None, name, is_new=is_new)

    def _open_task(self, painting: Painting | None, order: str, wanted: str = "", label: str = "") -> str | None:
        """The task to be decided next: the wanted one, or of those that are open the first in the order."""
        found = [one for one in painting.suggestions if one.state == ORDERS[order][1]] if painting else []
        found = [one for one in found if wanted in ("", one.task) and label in ("", one.label)]
        key = (lambda one: one.turn) if order == BY_GAIN else (lambda one: one.confidence)
        return min(found, key=key).task if found else None

    def _offered(self, suggestion: Suggestion, chosen: str | None) -> tuple[str, list[tuple[str, str]]]:
        """The answer, of several labels the chosen ones, and `(text, label)` of each button."""
        separator = self.source.separators.get(suggestion.task)
        if separator is None:
            ranked = [(suggestion.label, suggestion.confidence), *suggestion.alternatives]
            return suggestion.label, [(f"{label}  {score:.0%}", label) for label, score in ranked]
        answered = split_labels(suggestion.label, separator)
        offered = [(label, "") for label in answered]
        offered += [(label, f"  {score:.0%}") for label, score in suggestion.alternatives]
        labels = answered if chosen is None else split_labels(chosen, separator)
        # In one order, whatever was chosen first: by it the suggested answer is known again.
        order = [*(label for label, _ in offered), *self.labels.get(suggestion.task, []), *labels]
        labels = sorted(labels, key=order.index)
        return joined(labels, separator), [
            (f"{'☑' if label in labels else '☐'} {label}{score}", label) for label, score in offered
        ]

    def _shown(
        self, painting: Painting | None, task: str | None, message: str, chosen: str | None = None
    ) -> list[Any]:
        """Row, task, picture, cells, question, choices, what Enter accepts, labels, message and progress."""
        suggestion = next((one for one in painting.suggestions if one.task == task), None) if painting else None
        if painting is None or suggestion is None:
            done = "<p>Nothing is left to decide here. Choose another order or task, or export the catalogue.</p>"
            return [*[None] * 3, "", done, [], None, [], notice(message), self.progress()]
        picture = None
        try:
            asked, problem = self.source.painting(Row(painting.cells))
            picture = small_picture(asked["image"], size=1024) if "image" in asked else None
        except (ValueError, OSError) as error:
            problem = str(error)
        if problem:
            message = f"{message} The picture cannot be shown: {problem}".strip()
        accepted, offered = self._offered(suggestion, chosen)
        known = "" if suggestion.known is None else f" The catalogue says <b>{escape(suggestion.known)}</b>."
        question = f"<p>Row {painting.row + 1}: which <b>{escape(suggestion.task)}</b>?{known}</p>"
        if suggestion.task in self.source.separators:
            question += f"<p>Chosen: <b>{escape(accepted) or 'nothing'}</b></p>"
        choices = [(f"{number}  {text}", label) for number, (text, label) in enumerate(offered[:NUM_CHOICES], 1)]
        hidden = {*added_columns(self.review.tasks), *filled_columns(painting.cells)} - {"suggestion_problem"}
        listed = ((name, value) for name, value in painting.cells.items() if name not in hidden)
        cells = "".join(f"<dt>{escape(name)}<dd>{escape(unescaped(value))}" for name, value in listed)
        shown = [painting.row, task, picture, f"<dl>{cells}</dl>", question, choices, accepted]
        return [*shown, self.labels.get(suggestion.task, []), notice(message), self.progress()]


def add_review(gradio: Any, blocks: Any, page: ReviewPage, opened: Any) -> None:
    """Put the page's parts into a tab of an application."""
    row, task, kept = gradio.State(None), gradio.State(None), gradio.BrowserState("", storage_key="semart-reviewer")
    labels, accepted, none = [gradio.State(None) for _ in range(NUM_CHOICES)], gradio.State(None), gradio.State(None)
    with gradio.Row():
        reviewer = gradio.Textbox(label="Your name", elem_id="reviewer", max_length=80)
        order = gradio.Dropdown(list(ORDERS), value=BY_GAIN, label="Order", elem_id="order", min_width=300)
        tasks = gradio.Dropdown([("every task", ""), *page.review.tasks], value="", label="Task", elem_id="task")
        single = (names for task, names in page.labels.items() if task not in page.source.separators)
        known = sorted({label for names in single for label in names})
        suggested = gradio.Dropdown([("every label", ""), *known], value="", label="Suggested label", elem_id="label")
    message = gradio.HTML(elem_id="review-message")
    with gradio.Row():
        # `share`, one of the usual buttons, would upload the picture to huggingface.co.
        fixed = {"interactive": False, "buttons": ["download", "fullscreen"], "height": 560}
        picture = gradio.Image(label="Painting", elem_id="picture", **fixed)
        with gradio.Column():
            question = gradio.HTML(elem_id="question")
            with gradio.Column(elem_id="choices"):
                buttons = [gradio.Button("", visible=False, elem_id=f"choice-{key + 1}") for key in range(NUM_CHOICES)]
            with gradio.Row():
                accept = gradio.Button("Accept (Enter)", variant="primary", elem_id="accept")
                skip = gradio.Button("Skip (S)", elem_id="skip")
                undo = gradio.Button("Undo (U)", elem_id="undo")
            other = gradio.Dropdown([], label="Another label", allow_custom_value=True, value=None, elem_id="other")
            save = gradio.Button("Save this label", elem_id="save")
            cells = gradio.HTML(elem_id="cells")
    explanation = gradio.HTML()
    why = gradio.Button("Explain the suggestions")
    progress = gradio.HTML(elem_id="progress")
    export = gradio.Button("Export the catalogue", elem_id="export")
    files = gradio.File(label="Reviewed catalogue, and what was changed", interactive=False, file_count="multiple")
    shown = [row, task, picture, cells, question, *buttons, *labels, accepted, other, message, progress, explanation]

    def acting(act: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        """A handler of what is `asked` and what else `act` takes, which gives an update of each part."""

        def handler(request: gradio.Request, name: str, *values: Any) -> list[Any]:
            asked = [_user(request, name), *values[:3]]
            try:
                shown = act(*values[3:], *asked)
            except (ValueError, OSError) as error:
                shown = page.next(*asked, message=str(error))
            *fixed, choices, answer, known, note, table = shown
            texts, held = zip(*choices, *[("", None)] * (NUM_CHOICES - len(choices)), strict=True)
            drawn = [gradio.Button(value=text, visible=text != "") for text in texts]
            field = gradio.Dropdown(choices=known[:MOST_OFFERED], value=None)
            return [*fixed, *drawn, *held, answer, field, note, table, ""]

        return handler

    def on_load(name: str, request: gradio.Request) -> Any:  # a link may carry the name: ?reviewer=Ada
        return request.query_params.get("reviewer") or name or gradio.skip()

    options = {"api_visibility": "private", "show_progress": "hidden"}
    asked = [reviewer, order, tasks, suggested]
    started = blocks.load(on_load, kept, reviewer, **options)
    for event in (started.then, reviewer.submit, order.change, tasks.change, suggested.change):
        event(acting(page.next), asked, shown, **options)
    reviewer.change(lambda name: name, reviewer, kept, **options)
    for button, label in zip([*buttons, save], [*labels, other], strict=True):
        button.click(acting(page.choose), [*asked, row, task, accepted, label], shown, **options)
    accept.click(acting(page.decide), [*asked, row, task, accepted], shown, **options)
    skip.click(acting(page.decide), [*asked, row, task, none], shown, **options)
    undo.click(acting(page.undo), asked, shown, **options)
    opened.change(acting(page.open), [*asked, opened], shown, **options)
    why.click(page.explain, row, explanation, api_name="explain_row", api_visibility="private")
    export.click(page.export, None, [files, message], api_visibility="private")
    _add_api(gradio, page)


def _add_api(gradio: Any, page: ReviewPage) -> None:
    """`/next`, `/decide` and `/progress`, for programs; whoever is logged in decides in their own name."""

    def next_painting(reviewer: str, order: str, task: str, request: gradio.Request) -> dict[str, Any]:
        painting = page.review.next_painting(_name(_user(request, reviewer)), order, task=task or None)
        return asdict(painting) if painting else {}

    def decide(row: int, task: str, label: str, reviewer: str, request: gradio.Request) -> dict[str, Any]:
        page.keep(row, task, label or "", _user(request, reviewer))
        return page.review.progress()

    for name, function in {"next": next_painting, "decide": decide, "progress": page.review.progress}.items():
        gradio.api(function, api_name=name)


def _user(request: Any, name: str) -> str:
    """Who acts: whoever is logged in, else the name that was written."""
    return getattr(request, "username", None) or name


def _name(reviewer: str | None) -> str:
    name = (reviewer or "").strip()
    if not name:
        raise ValueError("Write your name above first, so that your decisions are known as yours.")
    return name
