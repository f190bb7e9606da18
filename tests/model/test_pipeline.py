import copy
import itertools
import json
import threading
import time

import pytest
import torch
from small_models import ROUNDING, assert_same, rows, scores
from transformers import AutoProcessor

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import ArtClassificationPipeline, answer_side_by_side

LABELS = {"type": ["landscape", "portrait", "still-life", "UNK"], "school": ["Dutch", "Italian", "UNK"]}


def test_ranks_the_probabilities_that_the_model_gives_divided_by_its_temperatures(pipe, monkeypatch):
    row = rows()[0]
    answer = pipe(row, top_k=None)
    inputs = pipe.processor(images=row["image"], text=row["text"])
    logits = pipe.model(**inputs).logits
    assert list(answer) == ["type", "school"]
    assert pipe.postprocess(pipe.forward(pipe.preprocess(row)), top_k=None) == answer
    for task, labels in LABELS.items():
        expected = dict(zip(labels, torch.softmax(logits[task][0], -1).tolist(), strict=True))
        assert scores(answer)[task] == pytest.approx(expected, abs=ROUNDING)
        ranked = [guess["score"] for guess in answer[task]]
        assert ranked == sorted(ranked, reverse=True)
    monkeypatch.setattr(pipe.model.config, "temperatures", {"type": 2.0})
    calibrated = pipe(row, top_k=None)
    expected = dict(zip(LABELS["type"], torch.softmax(logits["type"][0] / 2, -1).tolist(), strict=True))
    assert scores(calibrated)["type"] == pytest.approx(expected, abs=ROUNDING)
    assert calibrated["school"] == answer["school"]


def test_batch_size_and_threads_change_no_result_and_order_is_kept(pipe, monkeypatch):
    many = [*rows()] * 3
    singly = [pipe(row) for row in rows()] * 3
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert len({json.dumps(answer) for answer in singly}) == len(rows())
        for batch_size, num_workers in ((1, None), (2, 3), (4, None), (7, 1), (50, None)):
            assert_same(pipe(many, batch_size=batch_size, num_workers=num_workers), singly)
        sizes, make = [], pipe._inputs
        monkeypatch.setattr(pipe, "_inputs", lambda *parts: sizes.append(len(parts)) or make(*parts))
        for num_workers in (None, 1):  # 8 paintings a core
            pipe([{"text": "a view"}] * 24, batch_size=32, num_workers=num_workers)
        assert sizes == [8, 8, 8, 16, 8]
    finally:
        torch.set_num_threads(torch_threads)


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


def test_top_k_and_tasks_of_calls_and_of_construction_and_logits_that_are_not_finite(pipe, monkeypatch):
    row = rows()[0]
    options = {"top_k": 1, "tasks": ["type"], "batch_size": 3}
    narrow = ArtClassificationPipeline(model=pipe.model, processor=pipe.processor, device="cpu", **options)
    for top_k, sizes in ((1, [1, 1]), (50, [4, 3])):
        assert [len(ranked) for ranked in pipe(row, top_k=top_k).values()] == sizes
    assert list(pipe(row, tasks="school")) == ["school"]
    assert list(pipe(row, tasks=["school", "type"])) == ["type", "school"]
    assert_same(narrow(rows()), pipe(rows(), top_k=1, tasks=["type"]))
    assert len(narrow({"text": "a"}, top_k=2)["type"]) == 2
    monkeypatch.setattr(pipe, "_forward", lambda inputs, **_: {"type": torch.tensor([[0.0, float("nan"), 0.0, 0.0]])})
    with pytest.raises(ValueError, match=r"logits of type are not finite: .*Allowed are numbers\. Load the model"):
        pipe({"text": "a view"}, tasks="type")


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
    by_task = pipe(row, min_confidence={"school": 1.0, "type": None})
    assert by_task["type"] == certain["type"]
    assert by_task["school"][0] == {"label": "unsure", "score": best["school"]}
    assert pipe(row, min_confidence={"school": best["school"]}) == certain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["artist"]}, r"does not know \['artist'\]\. Allowed are \['type', 'school'\]"),
        ({"tasks": []}, r"Got the tasks \[\].*Allowed are \['type', 'school'\]"),
        ({"tasks": 5}, r"Got the tasks \[5\].*Allowed are \['type', 'school'\]"),
        ({"top_k": 0}, r"top_k is 0\. Allowed is a number of labels from 1, or None.*Give top_k=1"),
        ({"top_k": 1.5}, r"top_k is 1\.5\. Allowed"),
        ({"top_k": True}, r"top_k is True\. Allowed"),
        ({"min_confidence": 95}, r"min_confidence is 95\. Allowed is a probability from 0 to 1.*Give 0\.9"),
        ({"min_confidence": {"school": 1.1}}, r"min_confidence is 1\.1\. Allowed is a probability"),
        ({"min_confidence": {"artist": 0.5}}, r"names the tasks \['artist'\]\. Allowed are \['type', 'school'\]"),
        ({"min_confidence": "0.5"}, r"min_confidence is '0\.5'\. Allowed is a probability"),
        ({"batch_size": 0}, r"batch_size is 0\. Allowed are whole numbers from 1"),
        ({"batch_size": "3"}, r"batch_size is '3'\. Allowed"),
        ({"num_workers": -1}, r"num_workers is -1\. Allowed are whole numbers from 0"),
        ({"topk": 1}, r"unknown options \['topk'\]\. Allowed are \['top_k', 'tasks', .*Correct"),
    ],
)
def test_bad_options_are_errors(pipe, options, message):
    for paintings in ({"text": "a view"}, [{"text": "a view"}] * 2):
        with pytest.raises(TypeError if "topk" in options else ValueError, match=message):
            pipe(paintings, **options)


def test_model_and_processor_must_belong_together(pipe, repository, monkeypatch):
    other = AutoProcessor.from_pretrained(repository)
    other.tokenizer.add_tokens(["vermeer"])
    with pytest.raises(ValueError, match=r"has 21 tokens, the model's text tower 20\. Allowed is .*Load both"):
        ArtClassificationPipeline(model=pipe.model, processor=other, device="cpu")
    wide = AutoProcessor.from_pretrained(repository)
    wide.image_processor.crop_size = {"height": 64, "width": 64}
    ArtClassificationPipeline(model=pipe.model, processor=wide, device="cpu")  # a convolutional tower takes any size
    monkeypatch.setitem(pipe.model.config.vision_config.pretrained_cfg, "fixed_input_size", True)
    with pytest.raises(ValueError, match=r"of \[64, 64\] pixels, .* takes \[32, 32\] alone\. Allowed is .*Load both"):
        ArtClassificationPipeline(model=pipe.model, processor=wide, device="cpu")
    with pytest.raises(ValueError, match=r"Got no processor\. Allowed is the processor that was saved .*Load both"):
        ArtClassificationPipeline(model=pipe.model)


def test_saving_writes_everything_and_uploads_it_once(pipe, repository, tmp_path, monkeypatch):
    pipe.save_pretrained(tmp_path)
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (repository, tmp_path))
    assert second.pop("config.json") != first.pop("config.json")  # loading notes the type of the towers' weights
    assert second == first
    model, processor = (kind.from_pretrained(tmp_path) for kind in (SemArtForArtClassification, AutoProcessor))
    again = ArtClassificationPipeline(model=model, processor=processor, device="cpu")
    assert_same(again(rows()), pipe(rows()))
    uploads = []
    monkeypatch.setattr(
        ArtClassificationPipeline, "push_to_hub", lambda self, repo_id, **options: uploads.append((repo_id, options))
    )
    pipe.save_pretrained(tmp_path / "one", push_to_hub=True)
    pipe.save_pretrained(tmp_path / "two", push_to_hub=True, repo_id="user/name", private=True)
    assert uploads == [("one", {}), ("user/name", {"private": True})]
    assert (tmp_path / "two" / "pipeline_semart.py").is_file()


def test_answers_in_bfloat16_are_near_those_in_float32(pipe, multiplies_in_bf16):
    options = {"processor": pipe.processor, "device": "cpu"}
    by_itself, asked = (
        ArtClassificationPipeline(model=copy.deepcopy(pipe.model), precision=precision, **options)
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


def test_a_model_in_training_mode_answers_in_evaluation_mode_and_keeps_its_modes(pipe):
    expected = pipe(rows(), batch_size=2)
    trained = copy.deepcopy(pipe.model).train()
    trained.heads.eval()
    state = {name: value.clone() for name, value in trained.state_dict().items()}
    modes = {name: module.training for name, module in trained.named_modules()}
    answers = ArtClassificationPipeline(model=trained, processor=pipe.processor, device="cpu")(rows(), batch_size=2)
    assert_same(answers, expected)
    assert {name: module.training for name, module in trained.named_modules()} == modes
    assert (modes[""], modes["heads"]) == (True, False)
    assert all(torch.equal(value, state[name]) for name, value in trained.state_dict().items())


def test_each_thread_has_its_share_of_the_cores_and_later_threads_have_all():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        shares = set(answer_side_by_side(lambda _: [torch.get_num_threads()], range(6), batch_size=1, num_threads=2))
        assert shares == {2}
        assert torch.get_num_threads() == 4
        seen = []
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen == [4]
    finally:
        torch.set_num_threads(before)


def test_few_batches_are_read_ahead_and_none_once_nobody_asks():
    read = []
    rows = (read.append(row) or row for row in itertools.count())
    answers = answer_side_by_side(lambda rows: rows, rows, batch_size=2, num_threads=2)
    assert [next(answers) for _ in range(4)] == [0, 1, 2, 3]
    assert len(read) <= 2 * (2 + 3)
    answers.close()
    read_then = len(read)
    time.sleep(0.05)
    assert len(read) == read_then


def test_several_labels_are_those_that_reach_their_thresholds(pipe):
    row = rows()[0]
    model = copy.deepcopy(pipe.model)
    logits = model(**pipe.processor(images=row["image"], text=row["text"])).logits["type"][0]
    probabilities = torch.sigmoid(logits / 2).tolist()
    expected = sorted(zip(LABELS["type"], probabilities, strict=True), key=lambda pair: -pair[1])
    # The likeliest label misses its threshold, the next two reach theirs.
    changes = zip(expected, (0.01, -0.01, -0.01, 0.01), strict=True)
    least = {label: score + change for (label, score), change in changes}
    model.config.temperatures = {"type": 2.0}
    task = {"name": "type", "labels": LABELS["type"], "kind": "multi_label"}
    model.config.set_tasks([{**task, "thresholds": [least[name] for name in LABELS["type"]]}, model.config.tasks[1]])
    several = ArtClassificationPipeline(model=model, processor=pipe.processor, device="cpu")
    answer = several(row)
    assert scores(answer)["type"] == pytest.approx(dict(expected[1:3]), abs=ROUNDING)
    assert [one["label"] for one in answer["type"]] == [label for label, _ in expected[1:3]]
    assert_same([{"school": answer["school"]}], [pipe(row, tasks="school")])
    assert scores(several(row, top_k=None))["type"] == pytest.approx(dict(expected), abs=ROUNDING)
    assert len(several(row, top_k=1)["type"]) == 1
    (_, first), (_, second), (_, third), (_, last) = expected
    exactly = (1 - first) * second * third * (1 - last)
    unsure, *rest = several(row, min_confidence=exactly + 0.01)["type"]
    assert (unsure["label"], unsure["score"]) == ("unsure", pytest.approx(exactly, abs=ROUNDING))
    assert rest == answer["type"] == several(row, min_confidence=exactly - 0.01)["type"]
    model.config.set_tasks([{**task, "thresholds": [1.0] * 4}, model.config.tasks[1]])
    assert several(row)["type"] == []
