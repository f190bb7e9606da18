"""The page on which people decide about a catalogue's suggestions, by mouse, by touch or by keys alone."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from html import escape, unescape
from pathlib import Path
from typing import Any

from semart_hf.documents.page import notice, small_picture

from .own_format import Catalogue, Row
from .review import BY_GAIN, ORDERS, STATE_OF, Painting, Review, Suggestion
from .review_results import export_decisions
from .several_labels import joined, several_choices, split_labels
from .suggestions import Columns, painting_of, printable

NUM_CHOICES, MOST_OFFERED = 5, 1000  # labels on buttons; in the field below, where others are written
#: Pixels of the longer side of the picture that is sent to the browser.
PREVIEW_SIZE = 1024
#: Keys do what the buttons do, unless somebody is writing.
KEYS = """<script>
let asked, since;
document.addEventListener("keydown", event => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (/INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) return;
  if (event.key === "Enter" && event.target.closest("button:not(#accept):not([id^=choice-])")) return;
  const names = {Enter: "accept", s: "skip", u: "undo"};
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const name = names[key] ?? (/^[1-5]$/.test(key) ? "choice-" + key : "none");
  const button = document.querySelector(`#${name}:not([disabled])`);
  if (!button?.checkVisibility()) return;  // another tab is shown
  event.preventDefault();
  const question = document.querySelector("#question").innerText;
  if (question === asked && event.timeStamp - since < 3000) return;  // it is being answered
  [asked, since] = [question, event.timeStamp];
  button.click();
});
</script>"""
STYLE = """
#cells { overflow-wrap: anywhere; } #cells dl { max-height: 20em; overflow-y: auto; }
#cells dt { font-size: 0.8em; opacity: 0.75; } #cells dd { margin: 0 0 6px; }
#question { font-size: 1.3em; } #choices { gap: 8px; } #choices button { justify-content: start; min-height: 44px; }
#picture img { width: 100%; height: 100%; object-fit: contain; object-position: top; }
#progress table { width: 100%; } #progress :is(table, tr, td, th) { border: 0; }
#progress :is(td, th) { text-align: left; padding: 2px 14px 2px 0; }
@media (min-width: 641px) { #progress :is(td, th):not(:first-child) { text-align: right; } }
@media (max-width: 640px) { #picture { max-height: 45vh; } #progress th { display: none; }
  #progress tr { display: flex; flex-wrap: wrap; } #progress td:first-child { width: 100%; font-weight: bold; }
  #progress td:not(:first-child)::before { content: attr(data-column) " "; opacity: 0.75; }
}
"""


class ReviewPage:
    """What the page's buttons do; each gives what all its parts show, and no error but a sentence in words.

    The labels are those that the model knows, by task; `explain` gives HTML about a painting `{"image", "text"}`.
    """

    def __init__(
        self,
        review: Review,
        catalogue: Catalogue,
        columns: Columns,
        images: Path,
        labels: Mapping[str, list[str]],
        explain: Callable[[dict[str, Any]], str],
    ) -> None:
        self.review, self.catalogue, self.columns, self.images = review, catalogue, columns, images
        self.labels, self._explain = labels, explain
        self._progress, self._counted_again = "", 0.0

    def next(self, reviewer: str, order: str, task: str, label: str, message: str = "") -> list[Any]:
        """The painting that comes next for somebody."""
        try:
            painting = self.review.next_painting(_name(reviewer), order, task=task or None, label=label or None)
        except (ValueError, OSError) as error:
            return self._shown(None, None, str(error))
        return self._shown(painting, self._open_task(painting, order, task, label), message)

    def decide(
        self,
        row: int | None,
        decided: str | None,
        answer: str | None,
        reviewer: str,
        order: str,
        task: str,
        label: str,
    ) -> list[Any]:
        """Keep an answer about the task that is shown (`None` skips it), and show what is open next; see `next`."""
        if row is None or decided is None:
            return self.next(reviewer, order, task, label)
        try:
            if answer is not None and not answer.strip():
                raise ValueError("Choose a label or write one first.")
            self._keep(row, decided, answer or "", reviewer)
        except (ValueError, OSError) as error:
            return self.next(reviewer, order, task, label, str(error))
        painting = self.review.painting(row)
        still = None if order == BY_GAIN else self._open_task(painting, order, task, label)
        return self._shown(painting, still, "") if still else self.next(reviewer, order, task, label)

    def open(self, row: int, cells: Mapping[str, str], reviewer: str, order: str, task: str, label: str) -> list[Any]:
        """A painting that somebody has found elsewhere, with these cells; see `next`."""
        try:
            _name(reviewer)
            painting = self.review.painting(row)
            if any(painting.cells.get(name, value) != value for name, value in cells.items()):
                raise ValueError(f"Row {row} is another painting here: the index is of another catalogue.")
        except (ValueError, OSError) as error:
            return self.next(reviewer, order, task, label, str(error))
        wanted = self._open_task(painting, order, task, label) or self._open_task(painting, order, None)
        if wanted is None:
            return self.next(reviewer, order, task, label, f"Nothing is left to decide about row {row + 1}.")
        return self._shown(painting, wanted, "")

    def choose(
        self, row: int | None, decided: str | None, chosen: str | None, answer: str | None, *asked: str
    ) -> list[Any]:
        """Keep an answer, or of a task with several labels put it among the chosen or take it out; see `decide`."""
        separator = self.columns.separators.get(decided or "")
        if row is None or separator is None:
            return self.decide(row, decided, answer or "", *asked)
        pressed = split_labels(printable(answer or ""), separator)
        kept = joined(sorted({*split_labels(chosen, separator)} ^ {*pressed}), separator)
        message = "" if pressed else "Choose a label or write one first."
        return self._shown(self.review.painting(row), decided, message, kept)

    def undo(self, reviewer: str, order: str, task: str, label: str) -> list[Any]:
        """Take back somebody's last decision."""
        try:
            undone = self.review.undo(_name(reviewer))
        except (ValueError, OSError) as error:
            return self.next(reviewer, order, task, label, str(error))
        if undone is None:
            return self.next(reviewer, order, task, label, "You have decided nothing that could be taken back.")
        return self._shown(*undone, "")

    def explain(self, row: int | None) -> str:
        """What spoke for the answers."""
        if row is None:
            return ""
        try:
            return self._explain(self._asked(self.review.painting(row)))
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            return f"<p>{escape(str(error))}</p>"

    def export(self) -> tuple[list[str], str]:
        """The reviewed catalogue and what was changed, as files, and a sentence."""
        folder = Path(tempfile.mkdtemp(prefix="semart_hf-"))
        name = self.catalogue.path
        output = folder / f"{name.stem}.reviewed{name.suffix}"
        try:
            count = export_decisions(self.review, self.catalogue, self.columns, output)
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

    def next_json(self, reviewer: str, order: str = BY_GAIN, task: str = "") -> dict[str, Any]:
        """The painting that comes next for somebody, as JSON; empty when nothing is left."""
        painting = self.review.next_painting(_name(reviewer), order, task=task or None)
        return {} if painting is None else asdict(painting)

    def decide_json(self, row: int, task: str, label: str, reviewer: str) -> dict[str, Any]:
        """Keep a decision (no label: skip), and give what is left to do, as JSON."""
        self._keep(row, task, label or "", reviewer)
        return self.review.progress()

    def _keep(self, row: int, task: str, label: str, reviewer: str) -> None:
        label, name = printable(label).strip(), _name(reviewer)
        self.catalogue.check_labels([label, name])
        separator = self.columns.separators.get(task)
        parts = split_labels(label, separator) if separator else [label] * bool(label)
        is_new = not {*parts} <= {*self.labels.get(task, [])}
        self.review.decide(row, task, joined(parts, separator or "") or None, name, is_new=is_new)

    def _open_task(self, painting: Painting | None, order: str, wanted: str | None, label: str = "") -> str | None:
        """The task to be decided next: the wanted one, or of those that are open the first in the order."""
        state = STATE_OF.get(order, "open")
        found = [one for one in painting.suggestions if one.state == state] if painting else []
        found = [one for one in found if wanted in (None, "", one.task) and label in ("", one.label)]
        key = (lambda one: one.turn) if order == BY_GAIN else (lambda one: one.confidence)
        return min(found, key=key).task if found else None

    def _asked(self, painting: Painting) -> dict[str, Any]:
        """What the model was asked; without the picture where it is at a URL."""
        return painting_of(Row(dict(painting.cells)), self.columns, self.images)[0]

    def _picture(self, painting: Painting) -> Any:
        path = self._asked(painting).get("image")
        return None if path is None else small_picture(path, PREVIEW_SIZE)

    def _shown(
        self, painting: Painting | None, task: str | None, message: str, chosen: str | None = None
    ) -> list[Any]:
        """Row, task, picture, cells, question, choices, what Enter accepts, labels, message and progress."""
        picture = None
        try:
            picture = self._picture(painting) if painting else None
        except (ValueError, OSError) as error:
            message = f"{message} The picture cannot be shown: {error}".strip()
        suggestion = next((one for one in painting.suggestions if one.task == task), None) if painting else None
        if painting is None or suggestion is None:
            done = "Nothing is left to decide here. Choose another order or task, or export the catalogue."
            choices: list[tuple[str, str] | None] = [None] * NUM_CHOICES
            return [None, None, None, "", f"<p>{done}</p>", *choices, None, [], notice(message), self.progress()]
        known, accepted = self.labels.get(suggestion.task, []), suggestion.label
        separator = self.columns.separators.get(suggestion.task)
        question = _question(painting.row, suggestion)
        if separator is None:
            ranked = [(suggestion.label, suggestion.confidence), *suggestion.alternatives]
            offered = [(f"{label}  {score:.0%}", label) for label, score in ranked]
        else:
            accepted, offered = several_choices(accepted, suggestion.alternatives, chosen, separator, known)
            question += f"<p>Chosen: <b>{escape(accepted) or 'nothing'}</b></p>"
        choices = [(f"{number}  {text}", label) for number, (text, label) in enumerate(offered[:NUM_CHOICES], 1)]
        choices += [None] * (NUM_CHOICES - len(choices))
        hidden = ("_suggested", "_confidence", "_alternatives", "_decision", "filled_by_suggestion")
        filled = f" {painting.cells.get('filled_by_suggestion')} "
        cells = "".join(
            f"<dt>{escape(name)}<dd>{escape(unescape(value))}"
            for name, value in painting.cells.items()
            if not name.endswith(hidden) and f" {name} " not in filled
        )
        shown = [painting.row, task, picture, f"<dl>{cells}</dl>", question, *choices]
        return [*shown, accepted, known, notice(message), self.progress()]


def add_review(gradio: Any, blocks: Any, page: ReviewPage, opened: Any) -> None:
    """Put the page's parts into a tab of an application."""
    row, task, kept = gradio.State(None), gradio.State(None), gradio.BrowserState("", storage_key="semart-reviewer")
    labels, accepted = [gradio.State(None) for _ in range(NUM_CHOICES)], gradio.State(None)
    with gradio.Row():
        reviewer = gradio.Textbox(label="Your name", elem_id="reviewer", max_length=80)
        order = gradio.Dropdown(list(ORDERS), value=next(iter(ORDERS)), label="Order", elem_id="order", min_width=300)
        tasks = gradio.Dropdown([("every task", ""), *page.review.tasks], value="", label="Task", elem_id="task")
        single = (names for task, names in page.labels.items() if task not in page.columns.separators)
        known = sorted({label for names in single for label in names})
        suggested = gradio.Dropdown([("every label", ""), *known], value="", label="Suggested label", elem_id="label")
    message = gradio.HTML(elem_id="review-message")
    with gradio.Row():
        picture = gradio.Image(label="Painting", interactive=False, elem_id="picture", height=560)
        with gradio.Column():
            question = gradio.HTML(elem_id="question")
            with gradio.Column(elem_id="choices"):
                buttons = [
                    gradio.Button("", visible=False, elem_id=f"choice-{number}")
                    for number in range(1, NUM_CHOICES + 1)
                ]
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
    choice = [order, tasks, suggested]
    shown = [row, task, picture, cells, question, *buttons, *labels, accepted, other, message, progress, explanation]

    def updates(values: list[Any]) -> list[Any]:
        number, name, image, listed, asked, *rest = values
        choices, answer, known, note, table = rest[:NUM_CHOICES], *rest[NUM_CHOICES:]
        drawn = [gradio.Button(value=one[0] if one else "", visible=one is not None) for one in choices]
        held = [one[1] if one else None for one in choices]
        field = gradio.Dropdown(choices=known[:MOST_OFFERED], value=None)
        return [number, name, image, listed, asked, *drawn, *held, answer, field, note, table, ""]

    def on_load(name: str, request: gradio.Request) -> Any:  # a link may carry the name: ?reviewer=Ada
        return request.query_params.get("reviewer") or name or gradio.skip()

    def on_next(name: str, wanted: str, about: str, label: str, request: gradio.Request) -> list[Any]:
        return updates(page.next(_user(request, name), wanted, about, label))

    def on_decide(
        number: Any, decided: Any, answer: Any, name: str, wanted: str, about: str, label: str, request: gradio.Request
    ) -> list[Any]:
        return updates(page.decide(number, decided, answer, _user(request, name), wanted, about, label))

    def on_choose(
        number: Any, decided: Any, chosen: Any, answer: Any, name: str, wanted: str, about: str, label: str,
        request: gradio.Request,
    ) -> list[Any]:  # fmt: skip
        return updates(page.choose(number, decided, chosen, answer, _user(request, name), wanted, about, label))

    def on_undo(name: str, wanted: str, about: str, label: str, request: gradio.Request) -> list[Any]:
        return updates(page.undo(_user(request, name), wanted, about, label))

    def on_open(found: Any, name: str, wanted: str, about: str, label: str, request: gradio.Request) -> list[Any]:
        return updates(page.open(found[0], found[1], _user(request, name), wanted, about, label))

    options = {"api_visibility": "private", "show_progress": "hidden"}
    started = blocks.load(on_load, kept, reviewer, **options)
    for event in (started.then, reviewer.submit, order.change, tasks.change, suggested.change):
        event(on_next, [reviewer, *choice], shown, **options)
    reviewer.change(lambda name: name, reviewer, kept, **options)
    for button, label in zip([*buttons, save], [*labels, other], strict=True):
        button.click(on_choose, [row, task, accepted, label, reviewer, *choice], shown, **options)
    accept.click(on_decide, [row, task, accepted, reviewer, *choice], shown, **options)
    skip.click(on_decide, [row, task, gradio.State(None), reviewer, *choice], shown, **options)
    undo.click(on_undo, [reviewer, *choice], shown, **options)
    opened.change(on_open, [opened, reviewer, *choice], shown, **options)
    why.click(page.explain, row, explanation, api_name="explain_row", api_visibility="private")
    _add_api(gradio, page)
    export.click(page.export, None, [files, message], api_visibility="private")


def _add_api(gradio: Any, page: ReviewPage) -> None:
    """`/next`, `/decide` and `/progress`, for programs; whoever is logged in decides in their own name."""

    def next_painting(reviewer: str, order: str, task: str, request: gradio.Request) -> dict[str, Any]:
        return _in_words(gradio, page.next_json, _user(request, reviewer), order, task)

    def decide(row: int, task: str, label: str, reviewer: str, request: gradio.Request) -> dict[str, Any]:
        return _in_words(gradio, page.decide_json, row, task, label, _user(request, reviewer))

    gradio.api(next_painting, api_name="next")
    gradio.api(decide, api_name="decide")

    def progress() -> dict:  # type: ignore[type-arg]
        return page.review.progress()

    gradio.api(progress, api_name="progress")


def _in_words(gradio: Any, function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    try:
        return function(*arguments)
    except (ValueError, OSError) as error:
        raise gradio.Error(str(error)) from error


def _user(request: Any, name: str) -> str:
    """Who acts: whoever is logged in, else the name that was written."""
    return getattr(request, "username", None) or name


def _question(row: int, suggestion: Suggestion) -> str:
    known = "" if suggestion.known is None else f" The catalogue says <b>{escape(suggestion.known)}</b>."
    return f"<p>Row {row + 1}: which <b>{escape(suggestion.task)}</b>?{known}</p>"


def _name(reviewer: str | None) -> str:
    name = (reviewer or "").strip()
    if not name:
        raise ValueError("Write your name above first, so that your decisions are known as yours.")
    return name
