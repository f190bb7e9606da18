"""A page for one model: a picture and a text go in, ranked labels of each task come out, with what spoke for them.

`semart-hf app --model DIR_OR_NAME` serves it on this machine; in a Space it serves the model that model.json names.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from .command import command, load_model

MOST_CHARACTERS = 5000
PREVIEW_SIZE = 720  # pixels of the longer side
PINNED = Path("model.json")
# An explanation is a whole page with a style of its own.
FRAME = '<iframe srcdoc="{}" title="Why these answers" style="width: 100%; height: 720px; border: 0"></iframe>'
STYLE = "#message p { border-left: 4px solid #d55e00; padding-left: 12px; overflow-wrap: anywhere; }"
ABOUT = (
    "Give a picture, its description, or both. The scores are probabilities among the labels that the model knows; "
    "they say nothing of a work's authenticity."
)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line's choices; without them, those of model.json in the working folder."""
    pinned = json.loads(PINNED.read_text(encoding="utf-8")) if PINNED.is_file() else {}
    parser = argparse.ArgumentParser(
        prog="semart-hf app", description="Serve a page that classifies paintings with one model."
    )
    add, model = parser.add_argument, pinned.get("model")
    add("--model", default=model, required=not model, help="folder of a model, or its name on the Hub")
    add("--revision", default=pinned.get("revision"), help="of a model on the Hub")
    add("--host", default="127.0.0.1", help="address to listen at (default: this machine only)")
    add("--port", type=int, help="port to listen at (default: the first free one from 7860)")
    return parser.parse_args(arguments)


def read_thresholds(model: str, revision: str | None) -> dict[str, float]:
    """Probability by task below which the model is unsure, by its own results.json; empty where it has none."""
    from transformers.utils import cached_file

    path = cached_file(
        model,
        "results.json",
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if path is None:
        return {}
    tasks = json.loads(Path(path).read_text(encoding="utf-8")).get("thresholds", {}).get("tasks", {})
    return {task: entry["min_confidence"] for task, entry in tasks.items() if entry}  # none: never sure enough


def painting_of(picture: str | None, text: str | None) -> dict[str, str]:
    text = (text or "").strip()
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"The description has {len(text):,} characters. Allowed are {MOST_CHARACTERS:,}. Shorten it: the model "
            "reads its beginning only."
        )
    if picture is None and not text:
        raise ValueError("Got neither a picture nor a description. Give one of them, or both.")
    return {**({} if picture is None else {"image": picture}), **({"text": text} if text else {})}


class Page:
    """The functions that the page calls; each gives what its outputs show, and no error but a sentence in words."""

    def __init__(self, classifier: Any, thresholds: Mapping[str, float]) -> None:
        self.classifier, self.thresholds = classifier, thresholds
        self.tasks = list(classifier.model.config.task_names)

    def empty(self, message: str = "") -> list[Any]:
        """No answers, which is what is shown before the first and whenever the painting changes, and a message."""
        return [notice(message), *[None] * len(self.tasks), ""]

    def preview(self, picture: str | None) -> list[Any]:
        """The picture as the model reads it, whatever its colours and format, and no answers of an earlier one."""
        from semart_hf.model.pictures_semart import load_picture

        if picture is None:
            return [None, *self.empty()]
        try:
            image = load_picture(picture, least_side=PREVIEW_SIZE).copy()
        except (ValueError, OSError) as error:
            return [None, *self.empty(without_path(error, picture))]
        image.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE))
        return [image, *self.empty()]

    def classify(self, picture: str | None, text: str | None) -> list[Any]:
        """The message, the labels of each task with their probabilities, and no explanation."""
        try:
            answer = self.classifier(painting_of(picture, text), top_k=None)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            return self.empty(without_path(error, picture))
        unsure = [
            f"{task.capitalize()} ({ranked[0]['score']:.0%}, below its threshold of {self.thresholds[task]:.0%})"
            for task, ranked in answer.items()
            if ranked[0]["score"] < self.thresholds.get(task, 0)
        ]
        labels = [{entry["label"]: entry["score"] for entry in answer[task]} for task in self.tasks]
        return [notice(f"The model is unsure of: {', '.join(unsure)}." if unsure else ""), *labels, ""]

    def explain(self, picture: str | None, text: str | None) -> list[Any]:
        """The message, and a page with the heat map and the weighted words of each answer."""
        from semart_hf.documents.explanation_page import write_explanations

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "explanation.html")
            try:
                write_explanations(path, self.classifier, [("This painting", painting_of(picture, text))])
            except (ValueError, OSError, RuntimeError, MemoryError) as error:
                return [notice(without_path(error, picture)), ""]
            return ["", FRAME.format(escape(path.read_text(encoding="utf-8")))]


def notice(message: str) -> str:
    return f"<p>{escape(message)}</p>" if message else ""


def without_path(error: Exception, picture: str | None) -> str:
    """The error's sentence, in which the visitor's file has its name and not its path on the server."""
    message = str(error) or type(error).__name__
    return message.replace(str(picture), Path(picture).name) if picture else message


def build_page(gradio: Any, page: Page, name: str) -> Any:
    training_notice = page.classifier.model.config.training_notice
    with gradio.Blocks(title=name, analytics_enabled=False) as blocks:
        gradio.Markdown(f"# {name}\n{ABOUT}" + (f"\n\n**{training_notice}**" if training_notice else ""))
        with gradio.Row():
            with gradio.Column():
                picture = gradio.File(label="Picture", type="filepath", height=120)
                preview = gradio.Image(label="As the model reads it", interactive=False, height=360)
                text = gradio.Textbox(label="Description", lines=4, placeholder="A view of a town by a river")
                with gradio.Row():
                    clear = gradio.Button("Clear")
                    why = gradio.Button("Explain")
                    button = gradio.Button("Classify", variant="primary")
            with gradio.Column():
                message = gradio.HTML(elem_id="message")
                labels = [
                    gradio.Label(label=task.capitalize(), num_top_classes=5, show_label=True) for task in page.tasks
                ]
        explanation = gradio.HTML()
        answers = [message, *labels, explanation]
        button.click(page.classify, [picture, text], answers, api_name="classify")
        text.submit(page.classify, [picture, text], answers, api_visibility="private")
        why.click(page.explain, [picture, text], [message, explanation], api_name="explain")
        text.input(page.empty, None, answers, api_visibility="private", show_progress="hidden")
        picture.change(page.preview, picture, [preview, *answers], api_visibility="private")
        everything = [picture, text, preview, *answers]
        clear.click(lambda: [None, "", None, *page.empty()], None, everything, api_visibility="private")
    return blocks


@command("app")
def main(arguments: list[str]) -> None:
    options = parse_arguments(arguments)
    try:
        import gradio  # before the model, which takes longer
    except ImportError as error:
        raise ImportError(
            "Got no gradio in this environment, which the page is made with. Install it: pip install 'semart-hf[app]'."
        ) from error
    from semart_hf.model.pipeline_semart import ArtClassificationPipeline

    thresholds = read_thresholds(options.model, options.revision)
    model, processor = load_model(options.model, revision=options.revision)
    classifier = ArtClassificationPipeline(model=model, processor=processor)
    blocks = build_page(gradio, Page(classifier, thresholds), Path(options.model).name)
    blocks.launch(server_name=options.host, server_port=options.port, show_error=True, css=STYLE)


if __name__ == "__main__":
    main()
