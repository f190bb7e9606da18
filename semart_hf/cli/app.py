"""Serve a page that classifies paintings: semart-hf app --model DIR."""

import argparse
import json
import os
import socket
from collections.abc import Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

from semart_hf.documents.table import first_of
from semart_hf.extras import optional
from semart_hf.files import read_json

from .command import READING, add_reading, catalogue_of, command, load_classifier, parser_of, reading_of, source_of

MOST_CHARACTERS = 5000
# An explanation is a whole page with a style of its own.
FRAME = '<iframe srcdoc="{}" title="Why these answers" style="width: 100%; height: 720px; border: 0"></iframe>'
LIMITS = (
    "Whatever a painting is, it gets one of these labels: a guess from what similar paintings were called, which "
    "attributes, dates and prices nothing. Where a description names the answer, the model reads it there."
)
MOST_LABELS, MOST_EXAMPLES = 12, 8  # that are shown
ABOUT = "Give a picture, its description, or both. Scores are probabilities among known labels, not of authenticity."


def free_port(word: str) -> int:
    """A port of this machine, as an argument's type, at which something new can listen."""
    try:
        socket.create_server(("127.0.0.1", int(word))).close()
    except (OSError, OverflowError, ValueError) as error:
        message = f"Got the port {word!r}, at which nothing can listen: {error}. Give another, or leave --port out."
        raise argparse.ArgumentTypeError(message) from error
    return int(word)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("app")
    add = parser.add_argument
    add("--model", required=True, help="folder of a model, or its name on the Hub")
    add("--revision", help="of a model on the Hub")
    add("--host", default="127.0.0.1", help="address to listen at (default: this machine only)")
    add("--port", type=free_port, help="port to listen at (default: the first free one from 7860)")
    add("--examples", type=Path, metavar="FOLDER", help="pictures to try, a text file beside each where there is one")
    add("--auth_file", type=Path, metavar="FILE", help="a line name:password for each visitor")
    add("--index", metavar="INDEX", help="what `semart-hf index` has written with this model: tabs to search it")
    add("--catalogue", type=Path, metavar="FILE", help="what `semart-hf predict CATALOGUE` has written: to review it")
    add_reading(parser, fetches=False)
    options = parser.parse_args(arguments)
    if options.catalogue is None:
        parser.refuse(options, READING, "without --catalogue")
    is_local = options.host in ("127.0.0.1", "localhost", "::1")
    if not is_local and options.auth_file is None and "SPACE_ID" not in os.environ:
        parser.error(f"got --host {options.host} without --auth_file; give one: whoever gets there reads and decides")
    return options


def read_visitors(path: Path) -> list[tuple[str, str]]:
    """Names and passwords of a file; a `ValueError` if a line is none."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    visitors = [(name.strip(), password) for name, _, password in (line.partition(":") for line in lines)]
    if not visitors or not all(name and password for name, password in visitors):
        raise ValueError(f"Got {path}, of which a line is not name:password. Write one for each visitor.")
    return visitors


def file_of(model: str, name: str, revision: str | None) -> Any:
    """The path of a file of a model's folder or repository; `None` where it has none."""
    from transformers.utils import cached_file

    raising = ("_raise_exceptions_for_missing_entries", "_raise_exceptions_for_connection_errors")
    return cached_file(model, name, revision=revision, **dict.fromkeys(raising, False))


def model_in_short(config: Any, results: Mapping[str, Any]) -> str:
    """HTML: what the model knows, how often it was right, and what it cannot do."""
    lines = ""
    for task in config.tasks:
        names = [label for label in task["labels"] if label != "UNK"]
        score = results.get("tasks", {}).get(task["name"], {})
        lines += f"<li><b>{escape(task['name'])}</b>: {escape(first_of(names, MOST_LABELS))}"
        if score.get("accuracy") is not None:
            lines += f"; right for {score['accuracy']:.0%} of {score['num_rows']:,} paintings"
    return f"<ul>{lines}</ul><p>{LIMITS}</p>"


def find_examples(model: str, revision: str | None, folder: Path | None) -> list[list[str | None]]:
    """Picture and text of paintings to try: of a folder, or the one that was published with the model."""
    from semart_hf.collection.sources import open_pictures
    from semart_hf.publishing.repositories import EXAMPLE_PICTURE

    if folder is not None:
        rows = islice(open_pictures(folder).rows(), MOST_EXAMPLES)
        return [[str(folder / str(row.cells["image_file"])), row.cells["text"]] for row in rows if not row.problem]
    published = file_of(model, EXAMPLE_PICTURE, revision)
    return [[published, None]] if published else []


def painting_of(picture: str | None, text: str | None) -> dict[str, str]:
    """What the pipeline is asked."""
    text = (text or "").strip()
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"The description has {len(text):,} characters. Allowed are {MOST_CHARACTERS:,}. Shorten it.")
    if picture is None and not text:
        raise ValueError("Got neither a picture nor a description. Give one of them, or both.")
    return {name: given for name, given in (("image", picture), ("text", text)) if given}


class Page:
    """The functions that the page calls; each gives what its outputs show, and no error but a sentence in words."""

    def __init__(self, classifier: Any, results: Mapping[str, Any] = {}, examples: Sequence[Any] = ()) -> None:
        self.classifier, self.results, self.examples = classifier, results, examples
        self.tasks = list(classifier.model.config.task_names)
        chosen = results.get("thresholds", {}).get("tasks", {})
        #: Probability by task below which the model is unsure, where there is one.
        self.thresholds = {task: entry["min_confidence"] for task, entry in chosen.items() if entry}

    def preview(self, picture: str | None) -> list[Any]:
        """The picture as the model reads it, whatever its colours and format, and a sentence if it cannot be read."""
        from semart_hf.documents.page import refusal, small_picture

        if picture is None:
            return [None, None]
        try:
            return [small_picture(picture, size=720), None]
        except (ValueError, OSError) as error:
            return [None, refusal(error, picture)]

    def classify(self, picture: str | None, text: str | None) -> list[Any]:
        """The message, the labels of each task with their probabilities, and no explanation."""
        from semart_hf.documents.page import notice, refusal
        from semart_hf.model.configuration_semart import is_multi_label
        from semart_hf.model.pipeline_semart import answer_of

        try:
            answer = self.classifier(painting_of(picture, text), top_k=None)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            return [refusal(error, picture), *[None] * len(self.tasks), ""]
        unsure, labels = [], []
        for task in self.classifier.model.config.tasks:
            ranked = [(entry["label"], entry["score"]) for entry in answer[task["name"]]]
            chosen, confidence = answer_of(ranked, task)
            least = self.thresholds.get(task["name"], 0)
            if confidence < least:
                unsure.append(f"{task['name'].capitalize()} ({confidence:.0%}, below its threshold of {least:.0%})")
            # Of several labels those that are an answer, the ticked ones, stand before all others.
            marks = {label: f"✓ {label}" for label in chosen} if is_multi_label(task) else {}
            labels.append({marks.get(label, label): score for label, score in ranked})
        return [notice(f"The model is unsure of: {', '.join(unsure)}." if unsure else ""), *labels, ""]

    def explain(self, picture: str | None, text: str | None) -> list[Any]:
        """The message, and a page with the heat map and the weighted words of each answer."""
        from semart_hf.documents.page import refusal

        try:
            return ["", self.explanation(painting_of(picture, text))]
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            return [refusal(error, picture), ""]

    def explanation(self, painting: dict[str, Any]) -> str:
        """A frame with the explanation page of one painting."""
        from semart_hf.documents.evaluation_report import explanation_page

        return FRAME.format(escape(explanation_page(self.classifier, [("This painting", painting)])))


def build_page(gradio: Any, page: Page, name: str, review: Any = None, search: Any = None) -> Any:
    """The Gradio page: one painting, and the review of a catalogue and the search of an index where there are such."""
    config = page.classifier.model.config
    notice = config.training_notice
    with gradio.Blocks(title=name, analytics_enabled=False) as blocks:
        gradio.Markdown(f"# {name}" + (f"\n\n**{notice}**" if notice else ""))
        with gradio.Accordion("What this model knows, and what it cannot do", open=False):
            gradio.HTML(model_in_short(config, page.results), elem_id="in-short")
        if review is None and search is None:
            add_painting(gradio, page)
            return blocks
        opened = gradio.State(None)
        with gradio.Tabs() as tabs:
            if review is not None:
                from semart_hf.collection.review_page import add_review

                with gradio.Tab("Review", id="review"):
                    add_review(gradio, blocks, review, opened)
            if search is not None:
                from semart_hf.search.search_page import add_search

                add_search(gradio, search, tabs, opened if review else None)
            with gradio.Tab("One painting", id="painting"):
                add_painting(gradio, page)
    return blocks


def add_painting(gradio: Any, page: Page) -> None:
    """The parts of the page for one painting."""
    gradio.Markdown(ABOUT)
    with gradio.Row():
        with gradio.Column():
            picture = gradio.File(label="Picture", type="filepath", height=120)
            # `share`, one of the usual buttons, would upload the picture to huggingface.co.
            fixed = {"interactive": False, "buttons": ["download", "fullscreen"], "height": 360}
            preview = gradio.Image(label="As the model reads it", elem_id="preview", **fixed)
            text = gradio.Textbox(label="Description", lines=4, placeholder="A view of a town by a river")
            with gradio.Row():
                clear = gradio.Button("Clear")
                why = gradio.Button("Explain")
                button = gradio.Button("Classify", variant="primary")
        with gradio.Column():
            message = gradio.HTML(elem_id="message")
            labels = [gradio.Label(label=task.capitalize(), num_top_classes=5, show_label=True) for task in page.tasks]
    explanation = gradio.HTML()
    answers = [message, *labels, explanation]

    def show_preview(path: str | None) -> list[Any]:
        image, problem = page.preview(path)
        return [image, problem or gradio.skip()]  # a message that came in the meantime stays

    if page.examples:
        shown = [gradio.Image(type="filepath", render=False), gradio.Textbox(render=False)]
        tried = gradio.Dataset(components=shown, samples=page.examples, label="Paintings to try")
        tried.click(lambda example: example, tried, [picture, text], api_visibility="private")
    button.click(page.classify, [picture, text], answers, api_name="suggest")
    text.submit(page.classify, [picture, text], answers, api_visibility="private")
    why.click(page.explain, [picture, text], [message, explanation], api_name="explain")
    # In the browser: by way of the server it would come late, and take away a newer answer or what is being written.
    empty: list[Any] = ["", *[{}] * len(labels), ""]
    text.change(None, None, answers, js=f"() => {json.dumps(empty)}")  # unlike input also when text is pasted
    picture.change(None, None, answers, js=f"() => {json.dumps(empty)}")
    picture.change(show_preview, picture, [preview, message], api_visibility="private")
    clear.click(None, None, [picture, text, preview, *answers], js=f"() => {json.dumps([None, '', None, *empty])}")


@command("app")
def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    visitors = None if options.auth_file is None else read_visitors(options.auth_file)
    gradio = optional("gradio", "app")  # before the model, which takes longer
    path = file_of(options.model, "results.json", options.revision)
    results = {} if path is None else read_json(path)
    examples = find_examples(options.model, options.revision, options.examples)
    classifier = load_classifier(options.model, options.revision)
    config = classifier.model.config
    page = Page(classifier, results, examples)
    review = search = None
    if options.catalogue is not None:
        from semart_hf.collection.review import begin_review
        from semart_hf.collection.review_page import ReviewPage

        source = source_of(options, catalogue_of(options), config.tasks, has_suggestions=True)
        begun = begin_review(source, page.tasks, reading_of(options))
        labels = {task["name"]: task["labels"] for task in config.tasks}
        review = ReviewPage(begun, source, labels, page.explanation)
    if options.index is not None:
        from semart_hf.search.search_page import SearchPage

        search = SearchPage(options.index, classifier, options.model)
    from semart_hf.documents.page import TEMPLATES

    blocks = build_page(gradio, page, Path(options.model).name, review, search)
    _, address, _ = blocks.queue(max_size=64).launch(  # more requests are refused
        server_name=options.host,
        server_port=options.port,
        share=False,  # on a hosted notebook gradio would make a public address by itself
        auth=visitors,
        max_file_size="256mb",
        show_error=True,
        css_paths=TEMPLATES / "app.css",
        head_paths=TEMPLATES / "review_keys.html",
        quiet=True,  # it would advise to make the page public
        prevent_thread_lock=True,
    )
    print(f"Serving at {address} (Ctrl-C ends it).", flush=True)
    blocks.block_thread()
