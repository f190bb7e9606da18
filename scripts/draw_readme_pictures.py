"""Draw the pictures of README.md from the demo: an answered painting with its heat map, and what each command writes.

`python scripts/draw_readme_pictures.py` after `make demo`; pages are photographed by a Chromium that is installed.
"""

import argparse
import contextlib
import importlib.util
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from PIL import Image
from transformers import pipeline

from semart_hf.cli import compare, prepare
from semart_hf.data.loading import load_paintings
from semart_hf.documents.explanation_page import overlay_png, write_explanations
from semart_hf.evaluation.explanations import explain

WIDTH, HEIGHT = 1000, 620
BROWSER = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
BROWSER += ["--disable-background-networking"]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("outputs/demo"), help="folder of `make demo`")
    parser.add_argument(
        "--output_dir", type=Path, default=Path("docs/pictures"), help="where the pictures are written"
    )
    options = parser.parse_args(arguments)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        parser.error("Got no chromium or google-chrome on the path. One is needed to photograph pages: install it.")
    options.output_dir.mkdir(parents=True, exist_ok=True)
    classify = pipeline("art-classification", model=str(options.demo / "model"), trust_remote_code=True)
    painting = best_known_painting(classify, options.demo / "release")
    draw_example(classify, painting, options.output_dir / "example.png")
    with tempfile.TemporaryDirectory() as made:
        pages = write_pages(classify, painting, options.demo, Path(made))
        for name, page in pages.items():
            photograph(browser, page.resolve().as_uri(), options.output_dir / f"{name}.jpg")
    photograph_app(browser, options.demo / "model", options.output_dir / "app.jpg")
    print(f"Wrote the pictures to {options.output_dir}")


def best_known_painting(classify: Any, release: Path) -> dict[str, Any]:
    """The first test painting with a picture, a text and all labels that is answered right in each task."""
    paintings = load_paintings(release, min_label_count=1)["test"]
    for row in paintings:
        truth = {task: row[task] for task in classify.model.config.task_names}
        if row["image"] is None or not row["text"] or None in truth.values():
            continue
        answers = classify({"image": row["image"], "text": row["text"]})
        labels = {task: paintings.features[task].int2str(number) for task, number in truth.items()}
        if all(answers[task][0]["label"] == label for task, label in labels.items()):
            return {"image": row["image"], "text": row["text"], "answers": answers}
    raise SystemExit(
        f"Got {release}, of which no test painting is answered right in every task. Run `make demo` again."
    )


def draw_example(classify: Any, painting: dict[str, Any], path: Path) -> None:
    """The painting, the answers, and what of the picture spoke for its type."""
    found = explain(classify.model, classify.processor, task="type", image=painting["image"], text=painting["text"])
    assert found.heat is not None  # there is a picture
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        Path(file.name).write_bytes(overlay_png(found.heat))
        overlay = Image.open(file.name, formats=["PNG"]).convert("RGBA")
    picture = painting["image"].convert("RGB")
    glow = picture.convert("L").convert("RGBA")
    left, top, right, bottom = (round(share * side) for share, side in zip(found.seen, 2 * picture.size, strict=True))
    glow.alpha_composite(overlay.resize((right - left, bottom - top)), (left, top))
    figure, (first, middle, last) = plt.subplots(1, 3, figsize=(10, 3), width_ratios=[1, 1.5, 1], dpi=120)
    first.imshow(picture)
    last.imshow(glow)
    last.set_title(f"what spoke for “{found.label}”", fontsize=10)
    for number, (task, ranked) in enumerate(painting["answers"].items()):
        words = f"{task}: {ranked[0]['label']}"
        middle.barh(-number, ranked[0]["score"], color="#0072B2", height=0.35)
        middle.text(0, -number + 0.27, words, fontsize=11, va="bottom")
        middle.text(ranked[0]["score"] + 0.02, -number, f"{ranked[0]['score']:.2f}", fontsize=10, va="center")
    middle.set_xlim(0, 1.15)
    middle.set_ylim(-len(painting["answers"]) + 0.5, 0.9)
    for axis in (first, middle, last):
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def write_pages(classify: Any, painting: dict[str, Any], demo: Path, folder: Path) -> dict[str, Path]:
    """The pages that the commands write, by the name of their picture."""
    write_explanations(folder / "explain.html", classify, [("A painting of the miniature", painting)])
    prepared = folder / "prepared"
    prepare.main(["--release", str(demo / "release"), "--output_dir", str(prepared)])
    # A trial of two small towers: it shows the page, not which tower is better.
    trial = ["--data", str(demo / "release"), "--towers", "test_resnet", "test_vit", "--num_train_epochs", "2"]
    compare.main(["miniature", *trial, "--no_reports", "--output_dir", str(folder / "towers")])
    return {
        "evaluate": demo / "evaluation" / "report.html",
        "compare": folder / "towers" / "comparison.html",
        "explain": folder / "explain.html",
        "prepare": prepared / "report.html",
    }


def photograph_app(browser: str, model: Path, path: Path) -> None:
    """The top of the application's page; without gradio the old picture stays."""
    if importlib.util.find_spec("gradio") is None:
        print(f"{path} is left as it is: the application needs the extra `app`.")
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    server = subprocess.Popen([sys.executable, "-m", "semart_hf.cli.app", "--model", str(model), "--port", str(port)])
    try:
        for _ in range(120):
            with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=1):
                break
            time.sleep(1)
        photograph(browser, address, path)
    finally:
        server.terminate()
        server.wait()


def photograph(browser: str, address: str, path: Path) -> None:
    """The top of a page as a JPEG."""
    with tempfile.TemporaryDirectory() as profile:
        shot = Path(profile, "shot.png")
        command = [browser, *BROWSER, f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}"]
        command += ["--virtual-time-budget=15000", f"--screenshot={shot}", address]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(shot, formats=["PNG"]) as picture:
            picture.convert("RGB").save(path, quality=80, optimize=True)


if __name__ == "__main__":
    main()
