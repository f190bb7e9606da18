"""Draw the pictures of README.md from the demo: an answered painting with its heat map, and what each command writes.

`python scripts/draw_readme_pictures.py` after `make demo` and `make browser`, with the extras `app` and `dev`.
"""

import argparse
import contextlib
import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from PIL import Image
from playwright.sync_api import sync_playwright
from transformers import pipeline

from semart_hf.cli import compare, predict, prepare
from semart_hf.data.loading import load_paintings
from semart_hf.documents.evaluation_report import explanation_page, overlay_png
from semart_hf.evaluation.explanations import explain

DEMO, PICTURES = Path("outputs/demo"), Path("docs/pictures")
BROWSER, PORT = shutil.which("chromium") or shutil.which("google-chrome"), 7899


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    if BROWSER is None or not (DEMO / "model").is_dir():
        raise SystemExit(f"Got no {DEMO}/model, or no Chromium on the path. Run `make demo` and `make browser` first.")
    classify = pipeline("art-classification", model=str(DEMO / "model"), trust_remote_code=True)
    painting = first_right(classify)
    draw_example(classify, painting)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = explanation_page(classify, [("A painting of the miniature", painting)])
        (folder / "explain.html").write_text(page, encoding="utf-8")
        prepare.main(["--release", str(DEMO / "release"), "--output_dir", str(folder / "prepared")])
        # A trial of two small towers: it shows the page, not which tower is better.
        trial = ["--data", str(DEMO / "release"), "--towers", "test_resnet", "test_vit", "--num_train_epochs", "2"]
        compare.main(["miniature", *trial, "--no_reports", "--output_dir", str(folder / "towers")])
        photograph((DEMO / "evaluation" / "report.html").resolve().as_uri(), "evaluate")
        photograph((folder / "towers" / "comparison.html").as_uri(), "compare")
        photograph((folder / "explain.html").as_uri(), "explain")
        photograph((folder / "prepared" / "report.html").as_uri(), "prepare")
        photograph_app(folder)


def first_right(classify: Any) -> dict[str, Any]:
    """The first test painting with picture and text that is answered right in each task, and the answers."""
    test = load_paintings(DEMO / "release", min_label_count=1)["test"]
    for row in test:
        if row["image"] is not None and row["text"]:
            answers = classify({"image": row["image"], "text": row["text"]})
            truth = {task: None if row[task] is None else test.features[task].int2str(row[task]) for task in answers}
            if all(answers[task][0]["label"] == label for task, label in truth.items()):
                return {"image": row["image"], "text": row["text"], "answers": answers}
    raise SystemExit(f"Got {DEMO}, where no test painting is answered right in every task. Run `make demo` again.")


def draw_example(classify: Any, painting: dict[str, Any]) -> None:
    """The painting, the answers, and what of the picture spoke for its type."""
    found = explain(classify.model, classify.processor, task="type", image=painting["image"], text=painting["text"])
    overlay = Image.open(io.BytesIO(overlay_png(found.heat)), formats=["PNG"]).convert("RGBA")
    picture = painting["image"].convert("RGB")
    glow = picture.convert("L").convert("RGBA")
    left, top, right, bottom = (round(share * side) for share, side in zip(found.seen, 2 * picture.size, strict=True))
    glow.alpha_composite(overlay.resize((right - left, bottom - top)), (left, top))
    figure, (first, middle, last) = plt.subplots(1, 3, figsize=(10, 3), width_ratios=[1, 1.5, 1], dpi=120)
    first.imshow(picture)
    last.imshow(glow)
    last.set_title(f"what spoke for “{found.label}”", fontsize=10)
    for number, (task, ranked) in enumerate(painting["answers"].items()):
        middle.barh(-number, ranked[0]["score"], color="#0072B2", height=0.35)
        middle.text(0, -number + 0.27, f"{task}: {ranked[0]['label']}", fontsize=11, va="bottom")
        middle.text(ranked[0]["score"] + 0.02, -number, f"{ranked[0]['score']:.2f}", fontsize=10, va="center")
    middle.set_xlim(0, 1.15)
    middle.set_ylim(-len(painting["answers"]) + 0.5, 0.9)
    for axis in (first, middle, last):
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(PICTURES / "example.png")


def photograph_app(folder: Path) -> None:
    model = ["--model", str(DEMO / "model")]
    rows = pd.read_csv(DEMO / "release" / "semart_test.csv", sep="\t", encoding="cp1252", dtype=str)

    def ask(page: Any) -> None:
        page.set_input_files("input[type=file]", DEMO / "release" / "Images" / rows["IMAGE_FILE"][0])
        page.get_by_label("Description").fill(rows["DESCRIPTION"][0])
        page.get_by_role("button", name="Classify").click()
        for shown in ("#preview img", "[data-testid='label-output-value']"):
            page.locator(shown).first.wait_for(timeout=120_000)
        page.evaluate("scrollTo(0, 200)")

    with served(model) as address:
        photograph(address, "app", ask)
    # The test paintings without some of their labels, as a catalogue that wants them.
    rows.loc[rows.index % 3 > 0, ["TYPE", "SCHOOL", "TIMEFRAME"]] = ""
    rows.to_csv(folder / "catalogue.csv", index=False)
    catalogue, images = str(folder / "suggestions.csv"), ["--images", str(DEMO / "release" / "Images")]
    predict.main([str(folder / "catalogue.csv"), *model, "--output", catalogue, *images])
    with served([*model, "--catalogue", catalogue, *images]) as address:
        photograph(f"{address}?reviewer=Ada", "review", lambda page: page.evaluate("scrollTo(0, 250)"))


@contextlib.contextmanager
def served(words: list[str]) -> Iterator[str]:
    """Address of the application while it runs."""
    with subprocess.Popen([sys.executable, "-m", "semart_hf.cli", "app", *words, "--port", str(PORT)]) as server:
        try:
            while socket.socket().connect_ex(("127.0.0.1", PORT)):
                if server.poll() is not None:
                    raise SystemExit("The application ended before it answered, see above.")
                time.sleep(1)
            yield f"http://127.0.0.1:{PORT}/"
        finally:
            server.terminate()


def photograph(address: str, name: str, act: Callable[[Any], None] | None = None) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 620})
        page.goto(address)
        page.wait_for_timeout(5000)  # until what is drawn by scripts is there
        if act is not None:
            act(page)
            page.wait_for_timeout(5000)
        page.screenshot(path=PICTURES / f"{name}.jpg", type="jpeg", quality=80)


if __name__ == "__main__":
    main()
