import base64
import copy
import io
import json
import re
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from rounding import rounding
from transformers import AutoModel, AutoProcessor

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pictures_semart import PictureError
from semart_hf.model.pipeline_semart import ArtClassificationPipeline

# Scores are at most 1, and 20 layers have at most 1,024 terms.
ROUNDING = rounding(1024, layers=20)
LABELS = {"type": ["landscape", "portrait", "still-life", "UNK"], "school": ["Dutch", "Italian", "UNK"]}


def picture(seed: int, width: int = 40, height: int = 50) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def rows() -> list[dict]:
    return [
        {"image": picture(0), "text": "a view of delft"},
        {"image": picture(1)},
        {"text": "portrait of an old man"},
        {"image": picture(2), "text": "a river with an old bridge at night and the view of delft"},
        {"image": None, "text": "the river at night", "school": "not read"},
        {"image": picture(3, 90, 30), "text": "  "},
        {"image": picture(4), "description": "portrait of a woman"},
    ]


@pytest.fixture(scope="module")
def pipe(repository) -> ArtClassificationPipeline:
    return ArtClassificationPipeline(
        model=AutoModel.from_pretrained(repository), processor=AutoProcessor.from_pretrained(repository), device="cpu"
    )


def scores(answer: dict) -> dict[str, dict[str, float]]:
    return {task: {guess["label"]: guess["score"] for guess in ranked} for task, ranked in answer.items()}


def assert_same(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert list(one) == list(other)
        for task, expected in scores(one).items():
            assert scores(other)[task] == pytest.approx(expected, abs=ROUNDING)


def test_ranks_the_probabilities_that_the_model_gives(pipe):
    row = rows()[0]

    answer = pipe(row, top_k=None)

    inputs = pipe.processor(images=row["image"], text=row["text"])
    logits = pipe.model(**inputs).logits
    assert list(answer) == ["type", "school"]
    for task, labels in LABELS.items():
        expected = dict(zip(labels, torch.softmax(logits[task][0], -1).tolist(), strict=True))
        assert scores(answer)[task] == pytest.approx(expected, abs=ROUNDING)
        ranked = [guess["score"] for guess in answer[task]]
        assert ranked == sorted(ranked, reverse=True)


def test_batch_size_changes_no_result_and_order_is_kept(pipe):
    singly = [pipe(row) for row in rows()]

    assert len({json.dumps(answer) for answer in singly}) == len(singly)
    for batch_size in (1, 2, 3, 7, 16):
        assert_same(pipe(rows(), batch_size=batch_size), singly)
    assert_same(pipe(rows(), batch_size=2, num_workers=1), singly)


def test_a_lists_batches_are_of_texts_of_like_length(pipe, monkeypatch):
    short, long = {"text": "a view"}, {"text": " ".join(["the river at night"] * 5)}
    widths = []
    forward = pipe.model.forward

    def noted(**inputs):
        widths.append(inputs["input_ids"].shape[1])
        return forward(**inputs)

    monkeypatch.setattr(pipe.model, "forward", noted)
    together = [short, long, short, long]
    answers = pipe(together, batch_size=2)
    assert sorted(widths) == [8, 16]
    assert_same(answers, [pipe(row) for row in together])


def test_streams_generators_iterators_and_datasets(pipe):
    expected = pipe(rows())

    assert_same(list(pipe((row for row in rows()), batch_size=2)), expected)
    assert_same(list(pipe(iter(rows()))), expected)
    assert_same(list(pipe(tuple(rows()), batch_size=3)), expected)
    assert pipe([]) == list(pipe(iter([]))) == []
    endless = pipe({"text": "a view"} for _ in iter(int, 1))
    assert list(next(iter(endless))) == ["type", "school"]


def test_reads_rows_of_datasets(pipe):
    columns = {key: [row.get(key) for row in rows()] for key in ("image", "text", "description")}
    features = datasets.Features(
        image=datasets.Image(), text=datasets.Value("string"), description=datasets.Value("string")
    )
    dataset = datasets.Dataset.from_dict(columns, features=features)
    expected = pipe(rows())

    assert_same(list(pipe(dataset, batch_size=3)), expected)
    assert_same(list(pipe(dataset.cast_column("image", datasets.Image(decode=False)))), expected)
    assert_same(list(pipe(dataset.to_iterable_dataset(), batch_size=2)), expected)


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
    features = datasets.Features(image=datasets.Image(), text=datasets.Value("string"), year=datasets.Value("int64"))
    dataset = datasets.Dataset.from_dict({"image": paths, "text": texts, "year": [1, 2, 3]}, features=features)

    for both in (table, table.to_dict("list"), table[["image", "text"]].to_dict("records"), dataset, dataset[:3],
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
    with pytest.raises(ValueError, match="neither a picture nor a text"):
        pipe({"image": nothing, "text": nothing})


def test_a_painting_that_cannot_be_read_costs_no_other_its_answer(pipe, tmp_path):
    content = io.BytesIO()
    picture(0).save(content, "PNG")
    path = tmp_path / "cut.png"
    path.write_bytes(content.getvalue()[:1000])
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


def test_rows_of_a_dataset_with_bad_pictures(pipe):
    content = io.BytesIO()
    picture(0).save(content, "PNG")
    cells = [{"bytes": content.getvalue()[:size], "path": None} for size in (None, 900, None)]
    dataset = datasets.Dataset.from_dict({"image": cells}, features=datasets.Features(image=datasets.Image()))

    for given in (dataset, dataset.cast_column("image", datasets.Image(decode=False)), dataset["image"]):
        answers = list(pipe(given, batch_size=2))
        assert [set(answer) == {"error"} for answer in answers] == [False, True, False]
    with pytest.raises(ValueError, match=r"table with the columns \['picture'\]\. Allowed are .*Rename"):
        pipe(dataset.rename_column("image", "picture"))
    with pytest.raises(ValueError, match=r"table with the columns \['caption'\]"):
        pipe(pd.DataFrame({"caption": ["a"]}))


def test_the_missing_part_is_not_seen(pipe):
    both = pipe(rows()[0])

    assert pipe({"image": rows()[0]["image"]}) != both
    assert pipe({"text": rows()[0]["text"]}) != both
    assert pipe({"text": "a view", "description": "not read"}) == pipe({"text": "a view"})
    assert pipe({"text": None, "description": "a view"}) == pipe({"text": "a view"})


def test_top_k_and_tasks(pipe):
    row = rows()[0]

    assert {task: len(ranked) for task, ranked in pipe(row, top_k=1).items()} == {"type": 1, "school": 1}
    assert {task: len(ranked) for task, ranked in pipe(row, top_k=50).items()} == {"type": 4, "school": 3}
    assert list(pipe(row, tasks="school")) == ["school"]
    assert list(pipe(row, tasks=["school", "type"])) == ["type", "school"]


def test_choices_of_construction_are_defaults_of_calls(pipe):
    narrow = ArtClassificationPipeline(
        model=pipe.model, processor=pipe.processor, device="cpu", top_k=1, tasks=["type"], batch_size=3
    )

    assert_same(narrow(rows()), pipe(rows(), top_k=1, tasks=["type"]))
    assert len(narrow({"text": "a"}, top_k=2)["type"]) == 2


def test_unsure_below_the_confidence(pipe):
    row = rows()[0]
    certain = pipe(row)
    best = {task: ranked[0]["score"] for task, ranked in certain.items()}
    threshold = (min(best.values()) + max(best.values())) / 2

    answer = pipe(row, min_confidence=threshold)

    for task, ranked in certain.items():
        if best[task] < threshold:
            assert answer[task] == [{"label": "unsure", "score": best[task]}, *ranked]
        else:
            assert answer[task] == ranked
    assert pipe(row, min_confidence=0) == certain


def test_each_task_may_have_its_own_least_confidence(pipe):
    row = rows()[0]
    certain = pipe(row)

    answer = pipe(row, min_confidence={"school": 1.0, "type": None})

    assert answer["type"] == certain["type"]
    assert answer["school"][0] == {"label": "unsure", "score": certain["school"][0]["score"]}
    assert pipe(row, min_confidence={"school": certain["school"][0]["score"]}) == certain


def test_temperatures_of_the_configuration_calibrate(pipe, monkeypatch):
    row = rows()[0]
    plain = pipe(row, top_k=None)
    monkeypatch.setattr(pipe.model.config, "temperatures", {"type": 2.0})

    calibrated = pipe(row, top_k=None)

    logits = pipe.model(**pipe.processor(images=row["image"], text=row["text"])).logits["type"][0]
    expected = dict(zip(LABELS["type"], torch.softmax(logits / 2, -1).tolist(), strict=True))
    assert scores(calibrated)["type"] == pytest.approx(expected, abs=ROUNDING)
    assert calibrated["school"] == plain["school"]


def test_bfloat16_gives_nearly_the_same(pipe, repository):
    half = ArtClassificationPipeline(
        model=AutoModel.from_pretrained(repository, dtype=torch.bfloat16), processor=pipe.processor, device="cpu"
    )

    for one, other in zip(half(rows(), batch_size=4), pipe(rows()), strict=True):
        for task, expected in scores(other).items():
            assert scores(one)[task] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    "painting", [{"image": None, "text": None}, {"text": " "}, {"image": " "}, {"image": float("nan")}]
)
def test_a_painting_with_nothing_is_an_error(pipe, painting):
    with pytest.raises(ValueError, match=r"neither a picture nor a text\. Allowed are .*Leave the painting out.*\['"):
        pipe(painting)


def test_bad_input_is_an_error(pipe):
    with pytest.raises(
        ValueError, match=r"picture 'A view of Delft' cannot be read: .*if this is the painting's text.*'text'"
    ):
        pipe("A view of Delft")
    with pytest.raises(
        ValueError, match=r"keys \['picture'\]\. Allowed are \['image', 'text', 'description'\]\. Rename"
    ):
        pipe({"picture": picture(0)})
    with pytest.raises(TypeError, match=r"Got the text 3\.5 of type float\. Allowed are strings, and None.*Convert"):
        pipe({"text": 3.5})
    with pytest.raises(ValueError, match=r"given as 3 of int cannot be read: it is none\. Allowed are a path"):
        pipe(3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tasks": ["artist"]}, ValueError, r"does not know \['artist'\]\. Allowed are \['type', 'school'\]\. Name"),
        ({"tasks": []}, ValueError, r"Got the tasks \[\].*Allowed are \['type', 'school'\]"),
        ({"top_k": 0}, ValueError, r"top_k is 0\. Allowed is a number of labels from 1, or None.*Give top_k=1"),
        ({"top_k": 1.5}, ValueError, r"top_k is 1\.5\. Allowed"),
        (
            {"min_confidence": 95},
            ValueError,
            r"min_confidence is 95\. Allowed is a probability from 0 to 1.*Give 0\.9",
        ),
        ({"min_confidence": {"school": 1.1}}, ValueError, r"min_confidence is 1\.1\. Allowed is a probability"),
        (
            {"min_confidence": {"artist": 0.5}},
            ValueError,
            r"names the tasks \['artist'\]\. Allowed are \['type', 'school'\]",
        ),
        ({"topk": 1}, TypeError, r"unknown options \['topk'\]\. Allowed are \['top_k', 'tasks', .*Correct"),
    ],
)
def test_bad_options_are_errors(pipe, options, error, message):
    with pytest.raises(error, match=message):
        pipe({"text": "a view"}, **options)


def test_logits_that_are_not_finite_are_an_error(pipe, monkeypatch):
    monkeypatch.setattr(pipe, "_forward", lambda inputs: {"type": torch.tensor([[0.0, float("nan"), 0.0, 0.0]])})

    with pytest.raises(
        ValueError, match=r"logits of type are not finite: .*Allowed are numbers\. Load the model with"
    ):
        pipe({"text": "a view"}, tasks="type")


def test_model_and_processor_must_belong_together(pipe, repository, monkeypatch):
    other = AutoProcessor.from_pretrained(repository)
    other.tokenizer.add_tokens(["vermeer"])

    with pytest.raises(
        ValueError, match=r"tokenizer has 21 tokens, the model's text tower 20\. Allowed is .*Load both"
    ):
        ArtClassificationPipeline(model=pipe.model, processor=other, device="cpu")
    wide = AutoProcessor.from_pretrained(repository)
    wide.image_processor.crop_size = {"height": 64, "width": 64}
    ArtClassificationPipeline(model=pipe.model, processor=wide, device="cpu")  # a convolutional tower takes any size
    monkeypatch.setitem(pipe.model.config.vision_config.pretrained_cfg, "fixed_input_size", True)
    with pytest.raises(
        ValueError, match=r"pictures of \[64, 64\] pixels, .* takes \[32, 32\] alone\. Allowed is .*Load both"
    ):
        ArtClassificationPipeline(model=pipe.model, processor=wide, device="cpu")
    with pytest.raises(ValueError, match=r"Got no processor\. Allowed is the SemArtProcessor .*Call pipeline"):
        ArtClassificationPipeline(model=pipe.model)


def test_saving_writes_everything(pipe, repository, tmp_path):
    pipe.save_pretrained(tmp_path)

    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (repository, tmp_path))
    first_config, second_config = (json.loads(files.pop("config.json")) for files in (first, second))
    assert second == first
    for tower in ("vision_config", "text_config"):  # loading notes the type of the weights there as well
        assert second_config[tower].pop("dtype") == "float32"
    assert second_config == first_config
    again = ArtClassificationPipeline(
        model=SemArtForArtClassification.from_pretrained(tmp_path),
        processor=AutoProcessor.from_pretrained(tmp_path),
        device="cpu",
    )
    assert_same(again(rows()), pipe(rows()))


def test_uploading_while_saving_uploads_once_and_the_whole(pipe, tmp_path, monkeypatch):
    uploads = []
    monkeypatch.setattr(
        ArtClassificationPipeline, "push_to_hub", lambda self, repo_id, **options: uploads.append((repo_id, options))
    )

    pipe.save_pretrained(tmp_path / "one", push_to_hub=True)
    pipe.save_pretrained(tmp_path / "two", push_to_hub=True, repo_id="user/name", private=True)

    assert uploads == [("one", {}), ("user/name", {"private": True})]
    assert (tmp_path / "two" / "pipeline_semart.py").is_file()


def test_side_by_side_and_one_after_the_other_are_the_same(pipe):
    many = [*rows()] * 3
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = [pipe(row) for row in many]
        for options in ({"batch_size": 4}, {"batch_size": 2, "num_workers": 3}, {"batch_size": 5, "num_workers": 1}):
            assert_same(pipe(many, **options), expected)
    finally:
        torch.set_num_threads(torch_threads)


def test_answers_in_bfloat16_are_near_those_in_float32(pipe, multiplies_in_bf16):
    by_itself, asked = (
        ArtClassificationPipeline(
            model=copy.deepcopy(pipe.model), processor=pipe.processor, device="cpu", precision=precision
        )
        for precision in ("auto", "fp32")
    )
    types = []
    for classify in (by_itself, asked):
        classify.model.text_projection.register_forward_hook(lambda *call: types.append(call[2].dtype))
    near, exact = by_itself(rows(), top_k=None), asked(rows(), top_k=None)
    half = len(types) // 2
    assert types == [torch.bfloat16] * half + [torch.float32] * half
    for one, other in zip(near, exact, strict=True):
        for task, expected in scores(other).items():
            assert scores(one)[task] == pytest.approx(expected, abs=0.02)
    assert {parameter.dtype for parameter in by_itself.model.parameters()} == {torch.float32}
