import json
import shutil
import signal
import sqlite3

import pandas as pd
import pytest
from served_app import called, served
from tiny_release import load_command, read_table, run, save_tiny_model, write_release

TASKS = ("type", "school", "timeframe", "medium")
app = load_command("app")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A catalogue of 12 paintings with suggestions, half of whose schools are known; its pictures lie beside it."""
    folder = tmp_path_factory.mktemp("review")
    save_tiny_model(folder / "model")
    write_release(folder / "museum")
    source = folder / "museum" / "semart_test.csv"
    rows = read_table(source)
    for number, row in enumerate(rows):
        row.update(TYPE="", TIMEFRAME="", SCHOOL=row["SCHOOL"] if number % 2 else "")
    pd.DataFrame(rows).to_csv(source, sep="\t", index=False, encoding="cp1252")
    output = folder / "museum" / "suggestions.csv"
    run("predict", source, "--model", folder / "model", "--output", output)
    return output


def decisions_of(catalogue):
    with sqlite3.connect(catalogue.with_name(f"{catalogue.name}.decisions.sqlite3")) as connection:
        return [*connection.execute("SELECT row, task, label, reviewer FROM decision WHERE NOT is_undone ORDER BY id")]


def question(tab):
    return tab.locator("#question").inner_text()


def press(tab, key):
    before = question(tab)
    tab.keyboard.press(key)
    wait_for_another(tab, before)


def wait_for_another(tab, before):
    """Until another question is asked, and the page takes the next key: it ignores what is pressed before."""
    tab.wait_for_function("text => document.querySelector('#question').innerText != text", arg=before)
    settle(tab)


def settle(tab):
    """Half a second by the page's own clock, which stands still as long as the page is busy."""
    tab.evaluate("() => new Promise(done => setTimeout(done, 500))")


def begin(tab, address, name):
    tab.goto(address)
    tab.locator("#reviewer input, #reviewer textarea").fill(name)
    tab.keyboard.press("Enter")
    tab.locator("#choice-1").wait_for()
    assert tab.get_by_role("button", name="Share").count() == 0  # it would upload the picture
    tab.locator("#question").click()
    settle(tab)


def test_ten_rows_by_keys_with_a_kill_and_an_export(browser, catalogue, tmp_path):
    model, log = catalogue.parents[1] / "model", tmp_path / "log"
    with served(model, "--catalogue", catalogue, log=log) as (address, process):
        tab = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        begin(tab, address, "Ada")
        for key in ("Enter", "2", "s", "Enter", "3"):
            press(tab, key)
        press(tab, "u")
        asked = question(tab)
        decided = decisions_of(catalogue)
        assert len(decided) == 4
        assert [label is None for _, _, label, _ in decided] == [False, False, True, False]
        tab.reload()
        tab.get_by_text(asked).wait_for()  # the name and the painting are known again
        process.signal(signal.SIGKILL)
        process.process.join()
        assert decisions_of(catalogue) == decided
        tab.close()
    with served(model, "--catalogue", catalogue, log=log) as (address, _):
        tab, other = browser.new_page(), browser.new_page()
        begin(tab, address, "Ada")
        begin(other, address, "Ben")
        assert question(tab) == asked
        assert question(other).split(":")[0] != asked.split(":")[0]  # never the same painting
        other.locator("#other input").fill("Byzantine")
        before = question(other)
        other.locator("#save").click()
        wait_for_another(other, before)
        tab.locator("#question").click()
        for _ in range(6):
            press(tab, "Enter")
        with tab.expect_download() as download:
            tab.locator("#export").click()
            tab.get_by_text("suggestions.reviewed.csv").first.wait_for()
            tab.locator("a[download^='suggestions.reviewed.csv'], a[href*='suggestions.reviewed.csv']").first.click()
        rows = read_table(download.value.path())
        # What is written in the other tab, or held down, decides nothing.
        before = decisions_of(catalogue)
        tab.get_by_role("tab", name="One painting").click()
        for key in ("Enter", "1", "s"):
            tab.keyboard.press(key)
        tab.wait_for_timeout(700)
        assert decisions_of(catalogue) == before
        assert called(address, "progress")["type"]["decided"] > 0
        free = called(address, "next", "Cleo", "least sure first", "type")
        assert called(address, "decide", free["row"], "type", "", "Cleo")["type"]["skipped"] > 0
        tab.close()
        other.close()
    expected = {(row, task): (label, who) for row, task, label, who in decisions_of(catalogue) if label is not None}
    assert "Byzantine" in {label for label, _ in expected.values()}
    found = {
        (number, task): (row[f"{task}_decided"], row[f"{task}_decided_by"])
        for number, row in enumerate(rows)
        for task in TASKS
        if row[f"{task}_decided"]
    }
    assert found == expected
    assert all(rows[row]["TYPE"] == label for (row, task), (label, _) in expected.items() if task == "type")


def test_programs_decide_over_http(catalogue, tmp_path):
    pytest.importorskip("gradio", reason="no gradio, which makes the page: pip install 'semart-hf[app]'")
    from gradio_client import Client

    own = tmp_path / "museum"
    shutil.copytree(catalogue.parent, own, ignore=shutil.ignore_patterns("*.sqlite3*"))
    visitors = tmp_path / "visitors"
    visitors.write_text("ada:secret\nben:other\n")
    words = ["--catalogue", own / catalogue.name, "--auth_file", visitors]
    with served(catalogue.parents[1] / "model", *words, log=tmp_path / "log") as (address, _):
        with pytest.raises(Exception, match=r"(?i)auth|log|401"):
            Client(address, verbose=False).predict(api_name="/progress")
        client = Client(address, auth=("ada", "secret"), verbose=False)
        painting = client.predict("", "least sure first", "type", api_name="/next")
        left = client.predict(painting["row"], "type", "portrait", "somebody else", api_name="/decide")
        assert (left["type"]["open"], left["type"]["decided"]) == (11, 1)
        with pytest.raises(Exception, match="is decided already"):
            client.predict(painting["row"], "type", "portrait", "", api_name="/decide")
        answer = client.predict(None, "a view of delft", api_name="/suggest")
        assert {one["label"] for one in answer[1]["confidences"]} == {"portrait", "landscape", "UNK"}
    assert decisions_of(own / catalogue.name)[0][2:] == ("portrait", "ada")  # whoever is logged in


def test_a_server_for_others_asks_for_a_password(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        app.parse_arguments(["--model", "m", "--host", "0.0.0.0"])
    assert "without --auth_file" in capsys.readouterr().err
    monkeypatch.setenv("SPACE_ID", "ada/paintings")  # a Space's visitors are everybody
    assert app.parse_arguments(["--model", "m", "--host", "0.0.0.0"]).auth_file is None
    path = tmp_path / "visitors"
    path.write_text("ada:sec:ret\n\nben: x \n")
    assert app.read_visitors(path) == [("ada", "sec:ret"), ("ben", " x")]
    path.write_text(json.dumps({"ada": ""}) + "\nnobody\n")
    with pytest.raises(ValueError, match="name:password"):
        app.read_visitors(path)
