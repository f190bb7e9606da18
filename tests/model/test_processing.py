import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer

from semart_hf.model.processing_semart import SemArtProcessor

CLS, SEP, PAD = 2, 3, 0
PICTURE = Image.new("RGB", (40, 50), "red")


def test_both(processor):
    inputs = processor(images=PICTURE, text="a view of Delft")

    assert set(inputs) == {"pixel_values", "input_ids", "attention_mask"}
    assert inputs["pixel_values"].shape == (1, 3, 32, 32)
    assert inputs["input_ids"].tolist() == [[CLS, 5, 6, 7, 8, SEP, PAD, PAD]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 0, 0]]


@pytest.mark.parametrize("one", [PICTURE, np.asarray(PICTURE)])
def test_pictures_alone(processor, one):
    assert set(processor(images=one)) == {"pixel_values"}
    assert set(processor(images=[one, one], text=[None, "  \n"])) == {"pixel_values"}
    assert processor(images=[one, one], text=None)["pixel_values"].shape == (2, 3, 32, 32)


def test_texts_alone(processor):
    assert set(processor(text="a view")) == {"input_ids", "attention_mask"}
    assert set(processor(images=[None], text=["a view"])) == {"input_ids", "attention_mask"}


def test_rows_that_lack_something(processor):
    inputs = processor(images=[PICTURE, None, PICTURE], text=["the river", "a view of delft", None])

    assert inputs["has_image"].tolist() == [True, False, True]
    assert inputs["has_text"].tolist() == [True, True, False]
    assert inputs["pixel_values"][1].abs().sum() == 0
    assert torch.equal(inputs["pixel_values"][0], inputs["pixel_values"][2])
    assert inputs["input_ids"][2].tolist() == [CLS, SEP, PAD, PAD, PAD, PAD, PAD, PAD]
    assert inputs["attention_mask"][2].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert inputs["has_image"].dtype == inputs["has_text"].dtype == torch.bool


def test_rows_that_lack_everything_keep_their_number(processor):
    inputs = processor(images=[None, None], text=[None, ""])

    assert set(inputs) == {"input_ids", "attention_mask", "has_text"}
    assert inputs["has_text"].tolist() == [False, False]
    assert inputs["input_ids"].shape == (2, 8)


def test_long_texts_are_cut_at_the_limit(processor):
    inputs = processor(text=["view " * 50, "a"])

    assert inputs["input_ids"].shape == (2, 16)
    assert inputs["input_ids"][0, -1] == SEP


def test_padding_never_exceeds_a_limit_that_is_no_multiple_of_eight(processor, make_tokenizer):
    short = SemArtProcessor(processor.image_processor, make_tokenizer(model_max_length=12))

    assert short(text="view " * 50)["input_ids"].shape == (1, 12)


def test_a_tokenizer_that_states_no_limit_gets_that_of_distilbert(processor, make_tokenizer):
    boundless = SemArtProcessor(processor.image_processor, make_tokenizer())

    assert boundless(text="view " * 1000)["input_ids"].shape == (1, 512)


def test_numpy_arrays_on_request(processor):
    inputs = processor(images=[PICTURE, None], text=["a", "a"], return_tensors="np")

    assert {name: type(value) for name, value in inputs.items()} == dict.fromkeys(inputs, np.ndarray)
    assert inputs["has_image"].tolist() == [True, False]


@pytest.mark.parametrize(("images", "text"), [(None, None), ([], []), ([], None)])
def test_nothing_at_all_is_an_error(processor, images, text):
    with pytest.raises(ValueError, match=r"Got neither images nor text\. Allowed are .*Call processor\(images="):
        processor(images=images, text=text)


@pytest.mark.parametrize(
    ("images", "text", "numbers"),
    [([PICTURE, PICTURE], "a", "2 images and 1"), (PICTURE, ["a", "b"], "1 images and 2"), ([], ["a"], "0 images")],
)
def test_numbers_of_pictures_and_texts_must_agree(processor, images, text, numbers):
    with pytest.raises(ValueError, match=rf"Got {numbers}.*Allowed is one of each a row\. Put None"):
        processor(images=images, text=text)


@pytest.mark.parametrize("text", [[3], [["a"]], 3])
def test_a_text_that_is_no_string_is_an_error(processor, text):
    with pytest.raises(TypeError, match=r"Got the text .* of type \w+\. Allowed are strings, and None.*Convert"):
        processor(text=text)


def test_an_unknown_kind_of_tensors_is_an_error(processor):
    with pytest.raises(ValueError, match="return_tensors is 'jax', but it must be 'pt', 'np' or None"):
        processor(text="a", return_tensors="jax")


@pytest.mark.parametrize("tensors", ["pt", "np", None])
@pytest.mark.parametrize(
    "options",
    [
        {"padding": True},
        {"padding": "longest", "truncation": True, "max_length": 6},
        {"padding": "max_length", "max_length": 12},
        {"padding": "max_length", "truncation": "longest_first", "max_length": 3, "add_special_tokens": False},
        {"padding": True, "pad_to_multiple_of": 4},
    ],
)
def test_standard_options_do_what_they_do_in_the_tokenizer(processor, options, tensors):
    texts = ["a view of delft", "the river", "an old bridge at night with the river"]

    ours = processor(text=texts, return_tensors=tensors, **options)
    theirs = processor.tokenizer(
        texts, return_tensors=tensors, return_token_type_ids=False, **{"truncation": True, **options}
    )

    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        assert type(ours[name]) is type(expected)
        assert np.array_equal(ours[name], expected)


def test_without_padding_texts_keep_their_lengths(processor):
    inputs = processor(images=[PICTURE, None], text=["a view", "a"], padding=False, return_tensors=None)

    assert [len(ids) for ids in inputs["input_ids"]] == [4, 3]
    assert inputs["has_image"] == [True, False]
    with pytest.raises(ValueError, match="padding"):
        processor(text=["a view", "a"], padding=False)


def test_columns_arrays_and_open_files_are_taken_for_what_they_are(processor, tmp_path):
    paths = [str(tmp_path / f"{seed}.png") for seed in range(2)]
    for path, colour in zip(paths, ("red", "blue"), strict=True):
        Image.new("RGB", (40, 50), colour).save(path)
    expected = processor(images=paths, text=["a view", None])

    table = pd.DataFrame({"image": paths, "text": ["a view", None]}, index=[5, 3])
    for images in (table["image"], np.array(paths), tuple(paths), iter(paths), [open(path, "rb") for path in paths]):  # noqa: SIM115
        for text in (table["text"], ["a view", float("nan")], np.array(["a view", None]), ("a view", pd.NA)):
            again = images if not hasattr(images, "__next__") else iter(paths)
            found = processor(images=again, text=text)
            assert set(found) == set(expected)
            assert all(torch.equal(found[name], expected[name]) for name in expected)
    with open(paths[0], "rb") as file:
        assert torch.equal(processor(images=file)["pixel_values"], expected["pixel_values"][:1])
    rows = processor(images=[paths[0], float("nan")], text=["a view", "a"])
    assert rows["has_image"].tolist() == [True, False]


def test_survives_saving(processor, tmp_path):
    processor(images=PICTURE, text="a view of delft")  # leaves its padding in the tokenizer
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    again.save_pretrained(tmp_path / "again")

    assert type(again) is SemArtProcessor
    assert type(AutoTokenizer.from_pretrained(tmp_path)) is type(processor.tokenizer)
    expected, found = (one(images=PICTURE, text="a portrait") for one in (processor, again))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert names == [
        "image_processing_semart.py",
        "paintings_semart.py",
        "picture_errors_semart.py",
        "picture_sources_semart.py",
        "pictures_semart.py",
        "processing_semart.py",
        "processor_config.json",
        "tiff_semart.py",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for name in names:
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("options", [{"size": 5}, {"max_lenght": 5}])
def test_unknown_options_are_refused_by_name(processor, options):
    with pytest.raises(TypeError, match=rf"unknown options \['{next(iter(options))}'\]\. Allowed"):
        processor(text="a view", **options)


@pytest.mark.parametrize("max_length", [-1, 0, "3", 2.5])
def test_a_maximal_length_is_a_number_of_tokens(processor, max_length):
    with pytest.raises(ValueError, match=r"max_length is .*Allowed are whole numbers from 1"):
        processor(text="a view", max_length=max_length)


@pytest.mark.parametrize("values", [np.zeros((4, 4), np.uint16), np.zeros(5, np.uint8), np.array([None, 1], object)])
def test_arrays_that_are_no_pictures_are_refused_as_such_beside_others(processor, values):
    with pytest.raises(ValueError, match=r"its values have shape .* Allowed are uint8 arrays"):
        processor(images=[values, np.zeros((4, 4, 3), np.uint8)])
