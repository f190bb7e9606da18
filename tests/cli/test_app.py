import json
import shutil
import socket
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from served_app import served
from tiny_release import TASKS, load_command

app = load_command("app")
NOTHING = ["", *[None] * len(TASKS), ""]


@pytest.fixture(scope="module")
def page(classify):
    chosen = {"type": {"min_confidence": 1.0}, "school": {"min_confidence": 0.0}, "medium": None}
    return app.Page(classify, {"thresholds": {"tasks": chosen}})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture in CMYK, and files that cannot be read."""
    folder = tmp_path_factory.mktemp("files")
    Image.new("CMYK", (900, 600), (0, 255, 255, 0)).save(folder / "cmyk.jpg")
    noise = np.random.default_rng(0).integers(0, 255, (90, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "good.png")
    whole = (folder / "cmyk.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "page.jpg").write_text("<!doctype html><html>404</html>")
    (folder / "empty.jpg").touch()
    (folder / "drawing.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_answers_are_probabilities_by_label_and_a_preview_is_what_the_model_reads(page, files):
    message, *labels, explanation = page.classify(str(files / "good.png"), "a view of delft")
    assert [set(answer) for answer in labels] == [set(task["labels"]) for task in TASKS]
    assert [sum(answer.values()) for answer in labels] == pytest.approx([1] * len(TASKS), abs=1e-5)
    assert message.startswith("<p>The model is unsure of: Type (")
    assert "below its threshold of 100%" in message
    assert "School" not in message
    assert explanation == ""
    preview, problem = page.preview(str(files / "cmyk.jpg"))
    assert (preview.mode, preview.size, problem) == ("RGB", (720, 480), None)
    red, green, blue = preview.getpixel((300, 200))
    assert red > 200
    assert max(green, blue) < 60
    assert page.preview(None) == [None, None]


@pytest.mark.parametrize("name", ["half.jpg", "page.jpg", "empty.jpg", "drawing.jpg", "notes.txt", "absent.jpg"])
def test_a_bad_picture_has_its_reason_in_words(page, files, name):
    path = str(files / name)
    message, *others = page.classify(path, None)
    assert others == NOTHING[1:]
    assert page.preview(path) == [None, message]
    assert all(word in message for word in (name, "Allowed are "))
    assert str(files) not in message


def test_neither_picture_nor_text_and_too_long_a_text_are_refused_and_others_explained(page, files):
    assert page.classify(None, "  ")[0] == "<p>Got neither a picture nor a description. Give one of them, or both.</p>"
    too_long = "<p>The description has 5,004 characters. Allowed are 5,000. Shorten it.</p>"
    assert page.classify(None, "word " * 1001) == [too_long, *NOTHING[1:]]
    assert page.classify(None, "word " * 1000)[1] is not None
    message, frame = page.explain(str(files / "good.png"), 'a <b>view</b> of "delft"')
    assert (message, frame[:21]) == ("", '<iframe srcdoc="&lt;!')
    assert all(word in frame for word in ("data:image/jpeg;base64,", "delft"))
    assert "<b>" not in frame
    assert page.explain(None, None) == [page.classify(None, None)[0], ""]


def test_a_model_in_short_has_its_labels_its_scores_and_its_limits(page, model, tmp_path):
    style = {"name": "style", "labels": [*map("<{}>".format, range(20)), "UNK"]}
    config = SimpleNamespace(tasks=[*TASKS[:1], style])
    found = app.model_in_short(config, {"tasks": {"type": {"accuracy": 0.881, "num_rows": 1069}}})
    assert "<b>type</b>: portrait, landscape; right for 88% of 1,069 paintings<li>" in found
    assert "&lt;11&gt; and 8 more</ul>" in found
    assert "attributes, dates and prices nothing" in found
    assert app.file_of(str(model), "results.json", None) is None
    (tmp_path / "results.json").touch()
    assert app.file_of(str(tmp_path), "results.json", None) == str(tmp_path / "results.json")
    results = {"thresholds": {"tasks": {"type": {"min_confidence": 0.8}, "school": None}}}
    assert app.Page(page.classifier, results).thresholds == {"type": 0.8}


def test_examples_are_those_of_a_folder_or_the_published_one(files, tmp_path):
    assert app.find_examples(str(tmp_path), None, None) == []
    for name in ("a.png", "example.jpg"):
        shutil.copy(files / "good.png", tmp_path / name)
    (tmp_path / "a.txt").write_text("A view.")
    assert app.find_examples(str(tmp_path), None, None) == [[str(tmp_path / "example.jpg"), None]]
    examples = app.find_examples("none", None, tmp_path)
    assert examples == [[str(tmp_path / "a.png"), "A view."], [str(tmp_path / "example.jpg"), None]]
    (tmp_path / "a.csv").write_text("title\nA view\n")
    with pytest.raises(ValueError, match="neither a picture"):
        app.find_examples("none", None, tmp_path / "a.csv")


def test_a_port_at_which_nothing_can_listen_is_refused(capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        for port in (server.getsockname()[1], 99999, "http"):
            with pytest.raises(SystemExit):
                app.parse_arguments(["--model", "elsewhere", "--port", str(port)])
            assert f"Got the port '{port}', at which nothing can listen: " in capsys.readouterr().err


@pytest.fixture(scope="module")
def address(browser, model, tmp_path_factory):
    model = shutil.copytree(model, tmp_path_factory.mktemp("served") / "model")
    (model / "results.json").write_text(json.dumps({"thresholds": {"tasks": {"type": {"min_confidence": 0.999}}}}))
    examples = tmp_path_factory.mktemp("examples")
    Image.new("RGB", (90, 60), "blue").save(examples / "blue.png")
    (examples / "blue.txt").write_text("view of delft")
    with served(model, "--examples", examples, log=model.parent / "log") as (address, _):
        yield address
        assert f"Serving at {address}/ (Ctrl-C ends it)." in (model.parent / "log").read_text()


def test_the_page_in_a_browser(browser, address, files):
    tab = browser.new_page()
    tab.goto(address)
    message, answers = tab.locator("#message"), tab.locator("[data-testid='label-output-value']")
    upload = tab.locator("input[type=file]").first
    upload.set_input_files(str(files / "cmyk.jpg"))
    preview = tab.locator("#preview img[src*='/file=']").first
    preview.wait_for()
    assert tab.evaluate("image => image.naturalWidth", preview.element_handle()) == 720
    tab.get_by_role("button", name="Classify").click()
    message.get_by_text("The model is unsure of: Type").wait_for()
    assert answers.count() == len(TASKS)
    tab.get_by_role("button", name="Explain").click()
    tab.frame_locator("iframe[title='Why these answers']").get_by_text("This painting").wait_for()
    tab.get_by_text("Clear", exact=True).click()
    message.get_by_text("unsure").wait_for(state="detached")
    answers.first.wait_for(state="detached")
    tab.locator("iframe[title='Why these answers']").wait_for(state="detached")
    upload.set_input_files(str(files / "half.jpg"))
    message.get_by_text("half.jpg").wait_for()
    message.get_by_text("Fetch it again, or leave it out").wait_for()
    assert answers.count() == 0
    tab.get_by_text("Clear", exact=True).click()
    message.get_by_text("half.jpg").wait_for(state="detached")
    tab.get_by_text("What this model knows").click()
    tab.locator("#in-short").get_by_text("attributes, dates and prices nothing").wait_for()
    tab.locator("tbody tr").get_by_text("view of delft").click()
    preview.wait_for()
    tab.get_by_role("button", name="Classify").click()
    answers.first.wait_for()
    text = tab.get_by_label("Description")
    text.fill("word " * 1001)
    text.press("Control+A")
    text.press("Control+X")
    answers.first.wait_for(state="detached")
    tab.get_by_role("button", name="Classify").click()
    answers.first.wait_for()
    text.press("Control+V")  # pasted as a whole
    answers.first.wait_for(state="detached")
    tab.get_by_role("button", name="Classify").click()
    message.get_by_text("Allowed are 5,000").wait_for()
    assert tab.get_by_text("Error", exact=True).count() == 0
    tab.close()
