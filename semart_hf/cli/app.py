"""A page for one model: a picture and a text go in, ranked labels of each task come out.

`python scripts/app.py --model DIR_OR_NAME` serves it on this machine; as `app.py` of a Space it reads model.json.
It imports nothing of the package, so that it runs wherever the model does.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

# A script's own folder comes first in the search path, where evaluate.py would stand in for the library of that name.

TITLES = {"type": "Type", "school": "School", "timeframe": "Timeframe", "medium": "Medium"}
MOST_LABELS = 5
MOST_CHARACTERS = 5000
ABOUT = (
    "Give a picture, its description, or both. The scores are probabilities among the labels that the model knows; "
    "they say nothing of a work's authenticity."
)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's choices; without them, those of model.json beside this file."""
    pinned_file = Path(__file__).with_name("model.json")
    pinned = json.loads(pinned_file.read_text(encoding="utf-8")) if pinned_file.is_file() else {}
    parser = argparse.ArgumentParser(
        prog="semart-hf app", description="Serve a page that classifies paintings with one model."
    )
    parser.add_argument("--model", default=pinned.get("model"), help="folder of a model, or its name on the Hub")
    parser.add_argument("--revision", default=pinned.get("revision"), help="of a model on the Hub")
    parser.add_argument("--host", help="address to listen at (default: this machine only)")
    parser.add_argument("--port", type=int, help="port to listen at (default: the first free one from 7860)")
    options = parser.parse_args(arguments)
    if options.model is None:
        parser.error("got no --model: name the folder of a model, or a model on the Hub")
    return options


def load_model(model: str, revision: str | None = None) -> Any:
    """The model's pipeline, with its own code."""
    from transformers import pipeline

    return pipeline("art-classification", model=model, revision=revision, trust_remote_code=True)


def classify(classifier: Any, picture: Any, text: str | None) -> list[dict[str, float]]:
    """Label to probability, for each task in its order.

    Raises:
        ValueError: If there is neither a picture nor a text.
    """
    text = (text or "").strip()[:MOST_CHARACTERS]
    if picture is None and not text:
        raise ValueError("Give a picture, a description, or both.")
    painting = {
        name: value for name, value in (("image", picture), ("text", text)) if value is not None and value != ""
    }
    answer = classifier(painting, top_k=None)
    return [{entry["label"]: entry["score"] for entry in ranked} for ranked in answer.values()]


def build_page(classifier: Any, name: str) -> Any:
    """The Gradio page.

    Raises:
        ImportError: If Gradio is not installed.
    """
    gradio = import_gradio()
    tasks = classifier.model.config.task_names

    def answer(picture: Any, text: str | None) -> Any:
        try:
            answers = classify(classifier, picture, text)
        except ValueError as error:
            # The visitor's mistake and not the app's: the log gets no traceback.
            raise gradio.Error(str(error), print_exception=False) from error
        return answers if len(answers) > 1 else answers[0]

    with gradio.Blocks(title=name) as page:
        gradio.Markdown(f"# {name}\n{ABOUT}")
        with gradio.Row():
            with gradio.Column():
                picture = gradio.Image(label="Picture", type="pil", height=360)
                text = gradio.Textbox(
                    label="Description", lines=4, max_length=MOST_CHARACTERS, placeholder="A view of a town by a river"
                )
                with gradio.Row():
                    gradio.ClearButton([picture, text])
                    button = gradio.Button("Classify", variant="primary")
            with gradio.Column():
                labels = [
                    gradio.Label(label=TITLES.get(task, task), num_top_classes=MOST_LABELS, show_label=True)
                    for task in tasks
                ]
        button.click(answer, [picture, text], labels, api_name="classify")
        text.submit(answer, [picture, text], labels, api_visibility="private")
    return page


def import_gradio() -> Any:
    """The library.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise ImportError(
            "Got no gradio in this environment, which the page is made with. Install it: pip install 'semart-hf[app]'."
        ) from error
    return gradio


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    import_gradio()  # before the model, which takes longer
    classifier = load_model(options.model, options.revision)
    page = build_page(classifier, Path(options.model).name)
    page.launch(server_name=options.host, server_port=options.port)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
