import base64
import io
import re
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from release_builder import encoded
from small_models import assert_same, picture, rows

from semart_hf.model.pictures_semart import PictureError


def test_a_picture_alone_in_every_form(pipe, tmp_path):
    path = tmp_path / "picture.png"
    picture(0).save(path)
    content = path.read_bytes()
    expected = pipe({"image": picture(0)})
    text = base64.b64encode(content).decode()
    written = io.BytesIO()
    picture(0).save(written, "PNG")  # stands at its end
    sources = [picture(0), str(path), path, content, bytearray(content), memoryview(content), np.asarray(picture(0))]
    sources += [torch.tensor(np.asarray(picture(0))).movedim(-1, 0), io.BytesIO(content), written, text]
    sources += [f"data:image/png;base64,{text}", {"bytes": content, "path": None}, {"bytes": None, "path": str(path)}]
    with path.open("rb") as file:
        assert_same([pipe(file)], [expected])
        assert file.tell() == 0
    for source in sources:
        assert_same([pipe(source)], [expected])
        assert_same([pipe({"image": source})], [expected])
    assert_same(pipe(sources, batch_size=2), [expected] * len(sources))


def test_many_paintings_in_every_form_are_answered_in_their_order(pipe, tmp_path):
    paths = [str(tmp_path / f"{seed}.png") for seed in (3, 1, 2)]
    for path, seed in zip(paths, (3, 1, 2), strict=True):
        picture(seed).save(path)
    texts = ["a view", None, "the river at night with a bridge"]
    records = [{"image": path, "text": text} for path, text in zip(paths, texts, strict=True)]
    expected, pictures = [pipe(record) for record in records], [pipe(path) for path in paths]
    table = pd.DataFrame({"id": [7, 8, 9], "image": paths, "text": texts, "title": "x"}, index=[2, 0, 1])
    labelled = table.set_axis(["text", "b", "image"])
    features = datasets.Features(image=datasets.Image(), text=datasets.Value("string"), year=datasets.Value("int64"))
    dataset = datasets.Dataset.from_dict({"image": paths, "text": texts, "year": [1, 2, 3]}, features=features)
    for both in (table, labelled,
                 table.to_dict("list"), table[["image", "text"]].to_dict("records"), dataset, dataset[:3],
                 dataset.to_iterable_dataset(), (record for record in records), dict(enumerate(records)).values(),
                 tuple(records), np.array(records), [row for _, row in table.iterrows()]):  # fmt: skip
        assert_same(list(pipe(both, batch_size=2)), expected)
    for images in (table["image"], np.array(paths), tuple(paths), map(Path, paths), table["image"].to_dict().values(),
                   dataset["image"], np.stack([np.asarray(picture(seed)) for seed in (3, 1, 2)])):  # fmt: skip
        assert_same(list(pipe(images, batch_size=2)), pictures)
    assert_same([pipe(table.iloc[0])], expected[:1])


@pytest.mark.parametrize("nothing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, "", " \n"])
def test_what_is_missing_is_not_read(pipe, nothing):
    assert pipe({"image": nothing, "text": "a view"}) == pipe({"text": "a view"})
    assert pipe({"image": picture(0), "text": nothing}) == pipe(picture(0))
    assert pipe({"text": nothing, "description": "a view"}) == pipe({"text": "a view"})
    assert pipe({"text": "a view", "description": "not read"}) == pipe({"text": "a view"})
    with pytest.raises(ValueError, match="neither a picture nor a text"):
        pipe({"image": nothing, "text": nothing})


def test_a_painting_that_cannot_be_read_costs_no_other_its_answer(pipe, tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(encoded(picture(0), "PNG")[:1000])
    bad = {2: path, 3: {"image": "missing.jpg", "text": "a view"}, 7: {"images": picture(0), "text": "a"}, 9: ("a",),
           10: {"text": "\ud800"}, 11: {"image": picture(0), "text": 3}, 12: {"text": None}, 13: 3.5}  # fmt: skip
    reasons = ["truncated", "no file of this name", r"\['images'\]", "tuple", "half a character", "type int",
               "neither", "of float"]  # fmt: skip
    mixed = iter(rows())
    paintings = [bad[row] if row in bad else next(mixed) for row in range(len(bad) + len(rows()))]
    expected = pipe(rows())
    for options in ({}, {"batch_size": 4}, {"batch_size": 2, "num_workers": 3}, {"batch_size": 64}):
        for given in (paintings, iter(paintings), tuple(paintings)):
            answers = list(pipe(given, **options))
            assert [row for row, answer in enumerate(answers) if set(answer) == {"error"}] == list(bad)
            assert_same([answer for row, answer in enumerate(answers) if row not in bad], expected)
            for row, reason in zip(bad, reasons, strict=True):
                assert re.search(rf"^Painting {row}: .*{reason}", answers[row]["error"])
    stream = pipe(iter(paintings), batch_size=2, on_error="raise")
    assert_same([next(stream), next(stream)], expected[:2])
    with pytest.raises(PictureError, match=r"^Painting 2: .*cut\.png"):
        next(stream)
    with pytest.raises((ValueError, TypeError), match=r"^Painting"):
        pipe(paintings, on_error="raise")
    assert set(pipe(path, on_error="return")) == {"error"}
    with pytest.raises(ValueError, match=r"on_error is 'skip'\. Allowed are 'return' and 'raise'"):
        pipe(paintings, on_error="skip")


@pytest.mark.parametrize(
    ("painting", "error", "message"),
    [
        ("A view of Delft", ValueError, r"'A view of Delft' cannot be read: .*if this is the painting's text.*'text'"),
        ({"picture": picture(0)}, ValueError, r"keys \['picture'\]\. Allowed are \['image', 'text', 'description'\]"),
        ({"text": 3.5}, TypeError, r"Got the text 3\.5 of type float\. Allowed are strings, and None.*Convert"),
        (3, ValueError, r"given as 3 of int cannot be read: it is none\. Allowed are a path"),
        ({"school": "Dutch"}, ValueError, r"neither a picture nor a text\. Allowed are .*Leave the painting out.*\['"),
        ({"image": picture(0), "text": ["a"]}, ValueError, r"'image': None, 'text': 1\}\. Put None"),
        (pd.DataFrame({"caption": ["a"]}), ValueError, r"columns \['caption'\]\. Allowed are .*Rename"),
        (datasets.Dataset.from_dict({"caption": ["a"]}), ValueError, r"columns \['caption'\]\. Allowed are .*Rename"),
        (pd.DataFrame([["a", "b"]], columns=["text"] * 2), ValueError, "Allowed is each name once"),
    ],
)
def test_bad_input_is_an_error(pipe, painting, error, message):
    with pytest.raises(error, match=message):
        pipe(painting)


def test_arrow_and_formatted_datasets_and_streams_are_read_as_rows(pipe, tmp_path):
    texts = pyarrow.table({"id": [1, 2], "text": ["a view", "the river"]})
    expected = [pipe({"text": "a view"}), pipe({"text": "the river"})]
    dataset = datasets.Dataset(texts)
    columns = {"text": dataset["text"], "image": np.array([None, None])}
    for table in (texts, texts.to_batches()[0], dataset.with_format("pandas"), dataset.with_format("arrow"), columns):
        assert_same(list(pipe(table)), expected)
    endless = pipe({"text": "a view"} for _ in iter(int, 1))
    assert_same([next(iter(endless))], expected[:1])
    assert pipe([]) == list(pipe(iter([]))) == []
    picture(0).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    files = [str(tmp_path / name) for name in ("a.png", "b.png", "a.png")]
    sound = pipe(files[0])
    assert_same(pipe(pyarrow.array(files[:1])), [sound])
    cells = datasets.Dataset.from_dict({"image": files}).cast_column("image", datasets.Image())
    undecoded = cells.cast_column("image", datasets.Image(decode=False))
    for rows_ in (cells, cells.to_iterable_dataset(), undecoded, cells["image"]):
        first, second, third = pipe(rows_, batch_size=2)
        assert_same([first, third], [sound, sound])
        assert set(second) == {"error"}


def test_objects_that_raise_are_errors_in_words(pipe, processor):
    class Broken:
        def __repr__(self):
            raise RuntimeError("it has no form")

    with pytest.raises(TypeError, match=r"Got a table .*Allowed is one column"):
        processor(text=pd.DataFrame({"text": ["a view"]}))
    broken, sound = pipe([{"text": Broken()}, {"text": "a view"}])
    assert broken == {"error": "Painting 0: it has no form"}
    assert_same([sound], [pipe({"text": "a view"})])
