"""Explanations as a page shows them: the painting once, what spoke for each answer laid over it, and its words."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from semart_hf.evaluation.explanations import Explanation, explain
from semart_hf.files import write_text
from semart_hf.model.configuration_semart import is_multi_label
from semart_hf.model.pipeline_semart import ArtClassificationPipeline

from .page import render_page, to_jpeg
from .table import signed

LEGEND = (
    "Beside the painting, what spoke for each answer: the picture glows where it did, orange words spoke for the "
    "answer, blue ones against it. The model saw no more of the picture than lies within the dotted line. Integrated "
    "gradients, from a blank picture and masked words to the painting as it is: the contributions of picture and "
    "description add up to the change in the answer's log odds, where +0.7 doubles the odds."
)
# Pixels of the longer side of a painting on the page.
SHOWN_SIZE = 320
# Log odds: where no word says more, all are faint, because none of them mattered.
LEAST_FULL_WEIGHT = 0.1
MOST_LABELS = 4  # of an answer with several
# Vermilion shows on any painting that is drained of its own colours, to the colour-blind too.
GLOW = (255, 94, 0)


def write_explanations(
    path: Path, pipeline: ArtClassificationPipeline, paintings: Sequence[tuple[str, Mapping[str, Any]]]
) -> None:
    """Write a page that explains every task's answer about paintings, given by name and `{"image", "text"}`."""
    model, entries = pipeline.model, list[dict[str, Any]]()
    several = [task["name"] for task in model.config.tasks if is_multi_label(task)]
    for key, (name, painting) in enumerate(paintings):
        given: Any = {name: painting[name] for name in ("image", "text") if painting.get(name) is not None}
        try:
            answers = pipeline(given, tasks=several) if several else {}
            given["precision"] = pipeline.precision
            found = [
                explain(model, pipeline.processor, task=task, label=label, **given)
                for task in model.config.task_names
                for label in [one["label"] for one in answers.get(task, ())][:MOST_LABELS] or [None]
            ]
        except ValueError as error:  # a picture that cannot be read does not cost the others their page
            entries.append({"name": name, "error": str(error)})
        else:
            entries.append({"name": name, "error": "", "shown": shown_explanation(key, found)})
    notice = getattr(model.config, "training_notice", None)
    page = render_page("explanations.html", title="Why these answers", legend=LEGEND, notice=notice, entries=entries)
    write_text(path, page)


def shown_explanation(key: int, explanations: Sequence[Explanation], heading: str = "") -> dict[str, Any]:
    """What the macro `explanation` shows of the answers about a painting, under one heading or else each its own."""
    picture = explanations[0].picture
    scale = 1.0 if picture is None else SHOWN_SIZE / max(picture.size)
    width, height = (0, 0) if picture is None else (max(1, round(side * scale)) for side in picture.size)
    answers = []
    for found in explanations:
        left, top, right, bottom = found.seen
        totals = {"picture": (found.picture, found.picture_total), "description": (found.words, found.text_total)}
        largest = max([abs(weight or 0) for _, weight in found.words] + [LEAST_FULL_WEIGHT])
        answers.append(
            {
                "task": found.task,
                "label": found.label,
                "headline": "" if heading else f"{found.task}: {found.label}, {found.probability:.0%} sure",
                "totals": ", ".join(f"{kind} {signed(total, 1)}" for kind, (there, total) in totals.items() if there),
                "box": [left * width, top * height, (right - left) * width, (bottom - top) * height],
                "overlay": None if found.heat is None else overlay_png(found.heat),
                "words": [
                    {"text": word, "weight": weight, "strength": abs(weight or 0) / largest}
                    for word, weight in found.words
                ],
            }
        )
    # Twice as large as it is shown, for screens with small pixels.
    jpeg = to_jpeg(picture, 2 * SHOWN_SIZE)
    return {"key": key, "heading": heading, "jpeg": jpeg, "width": width, "height": height, "answers": answers}


def overlay_png(heat: npt.NDArray[np.float32]) -> bytes:
    """A picture of the heat (height, width) to lay over a painting: it glows where the heat speaks for the answer."""
    positive = np.clip(heat, 0, None)
    # Only the half that says most glows, or nothing would stand out; one outshining pixel must not darken all others.
    faintest, brightest = np.quantile(positive, (0.5, 0.995))
    brightest = max(brightest, positive.max() / 2, 1e-12)
    strength = np.clip((positive - faintest) / max(brightest - faintest, 1e-12), 0, 1)
    alpha = np.round(0.85 * 255 * strength).astype(np.uint8)
    buffer = io.BytesIO()
    picture = Image.new("RGB", alpha.shape[::-1], GLOW)
    picture.putalpha(Image.fromarray(alpha))
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
