import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from transformers import AutoProcessor, AutoTokenizer

from semart_hf.model.processing_semart import SemArtImageProcessor, SemArtProcessor

CLS, SEP, PAD = 2, 3, 0
TEXT_INPUTS = {"input_ids", "attention_mask"}
PICTURE = Image.new("RGB", (40, 50), "red")
TOWERS = ["resnet18.a1_in1k", "efficientnet_b0.ra_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
          "test_vit.r160_in1k", "tf_efficientnetv2_b3"]  # fmt: skip  # the last sees squashed pictures


def test_rows_that_have_both_and_rows_that_lack_something(processor):
    inputs = processor(images=PICTURE, text="a view of Delft")
    assert set(inputs) == {"pixel_values", *TEXT_INPUTS}
    assert inputs["pixel_values"].shape == (1, 3, 32, 32)
    assert inputs["input_ids"].tolist() == [[CLS, 5, 6, 7, 8, SEP, PAD, PAD]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 0, 0]]
    inputs = processor(images=[PICTURE, None, PICTURE], text=["the river", "a view of delft", None])
    assert inputs["has_image"].tolist() == [True, False, True]
    assert inputs["has_text"].tolist() == [True, True, False]
    assert inputs["pixel_values"][1].abs().sum() == 0
    assert torch.equal(inputs["pixel_values"][0], inputs["pixel_values"][2])
    assert inputs["input_ids"][2].tolist() == [CLS, SEP, PAD, PAD, PAD, PAD, PAD, PAD]
    assert inputs["attention_mask"][2].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert inputs["has_image"].dtype == inputs["has_text"].dtype == torch.bool
    nothing = processor(images=[None, None], text=[None, ""])  # they keep their number
    assert set(nothing) == {"input_ids", "attention_mask", "has_text"}
    assert nothing["has_text"].tolist() == [False, False]
    assert nothing["input_ids"].shape == (2, 8)


@pytest.mark.parametrize("one", [PICTURE, np.asarray(PICTURE)])
def test_pictures_alone_and_texts_alone(processor, one):
    assert set(processor(images=one)) == {"pixel_values"}
    assert set(processor(images=[one, one], text=[None, "  \n"])) == {"pixel_values"}
    assert processor(images=[one, one], text=None)["pixel_values"].shape == (2, 3, 32, 32)
    assert set(processor(text="a view")) == set(processor(images=[None], text=["a view"])) == TEXT_INPUTS


@pytest.mark.parametrize(("limit", "tokens"), [(16, 16), (12, 12), (None, 512)])
def test_long_texts_are_cut_at_the_limit(processor, make_tokenizer, limit, tokens):
    options = {} if limit is None else {"model_max_length": limit}
    limited = SemArtProcessor(processor.image_processor, make_tokenizer(**options))
    inputs = limited(text=["view " * 1000, "a"])  # never rounded up beyond it, and DistilBERT's where none is stated
    assert inputs["input_ids"].shape == (2, tokens)
    assert inputs["input_ids"][0, -1] == SEP


PLAIN = np.zeros((4, 4, 3), np.uint8)
REFUSED = [
    ({}, ValueError, r"Got neither images nor text\. Give one or both: processor\(images="),
    ({"images": [], "text": []}, ValueError, "Got neither images nor text"),
    ({"images": [PICTURE, PICTURE], "text": "a"}, ValueError, r"2 images and 1 .* Put None"),
    ({"images": PICTURE, "text": ["a", "b"]}, ValueError, "Got 1 images and 2"),
    ({"images": [], "text": ["a"]}, ValueError, "Got 0 images"),
    ({"text": [3]}, TypeError, r"Got the text .* of type int\. Allowed are strings, and None.*Convert"),
    ({"text": "a", "return_tensors": "jax"}, ValueError, "return_tensors is 'jax', but it must be 'pt', 'np' or None"),
    ({"text": "a", "size": 5}, TypeError, r"unknown options \['size'\]\. Allowed"),
    *(({"text": "a", "max_length": length}, ValueError, "max_length is .*Allowed") for length in (-1, 0, "3", 2.5)),
    *(
        ({"images": [values, PLAIN]}, ValueError, r"its values have shape .* Allowed are uint8 arrays")
        for values in (np.zeros((4, 4), np.uint16), np.zeros(5, np.uint8), np.array([None, 1], object))
    ),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED)
def test_what_is_no_input_is_refused(processor, arguments, error, message):
    with pytest.raises(error, match=message):
        processor(**arguments)


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
    usual = {"return_tensors": tensors, "return_token_type_ids": False, "truncation": True}
    theirs = processor.tokenizer(texts, **{**usual, **options})
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
    arrays = processor(images=[PICTURE, None], text=["a", "a"], return_tensors="np")
    assert {type(value) for value in arrays.values()} == {np.ndarray}


def test_columns_arrays_and_open_files_are_taken_for_what_they_are(processor, tmp_path):
    paths = [str(tmp_path / f"{seed}.png") for seed in range(2)]
    for path, colour in zip(paths, ("red", "blue"), strict=True):
        Image.new("RGB", (40, 50), colour).save(path)
    expected = processor(images=paths, text=["a view", None])
    table = pd.DataFrame({"image": paths, "text": ["a view", None]}, index=[5, 3])
    all_texts = table["text"], ["a view", float("nan")], np.array(["a view", None]), ("a view", pd.NA)
    for images, text in zip((table["image"], np.array(paths), tuple(paths), iter(paths)), all_texts, strict=True):
        found = processor(images=images, text=text)
        assert set(found) == set(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    with open(paths[0], "rb") as file:
        assert torch.equal(processor(images=file)["pixel_values"], expected["pixel_values"][:1])
        assert processor(images=[file, float("nan")], text=["a view", "a"])["has_image"].tolist() == [True, False]


def test_survives_saving_and_is_left_as_it_is(processor, tmp_path):
    processor(images=PICTURE, text="a view of delft")  # leaves its padding in the tokenizer
    processor.tokenizer.backend_tokenizer.enable_truncation(5)
    processor.tokenizer.init_kwargs["is_local"] = True
    before = processor.tokenizer.backend_tokenizer.to_str(), dict(processor.tokenizer.init_kwargs)
    processor.save_pretrained(tmp_path)
    assert (processor.tokenizer.backend_tokenizer.to_str(), processor.tokenizer.init_kwargs) == before
    again = AutoProcessor.from_pretrained(tmp_path)
    again.save_pretrained(tmp_path / "again")
    assert type(again) is SemArtProcessor
    assert type(AutoTokenizer.from_pretrained(tmp_path)) is type(processor.tokenizer)
    expected, found = (one(images=PICTURE, text="a portrait") for one in (processor, again))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    code = ["picture_sources", "pictures", "processing"]
    data = ["processor_config.json", "tokenizer.json", "tokenizer_config.json"]
    assert names == sorted([*(f"{name}_semart.py" for name in code), *data])
    for name in names:
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def smooth(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)


def grey_values(pixel_values: torch.Tensor, processor: SemArtImageProcessor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (processor.image_mean, processor.image_std))
    return (pixel_values * std + mean) * 255


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("image_size", [None, 96])
def test_equals_the_evaluation_transform_of_timm(tower, image_size):
    cfg = timm.get_pretrained_cfg(tower).to_dict()
    size = {} if image_size is None else {"input_size": (3, image_size, image_size)}
    processor = SemArtImageProcessor.from_timm(cfg | size)
    override = {} if image_size is None else {"img_size": image_size}
    transform = create_transform(**resolve_data_config(override, pretrained_cfg=cfg), is_training=False)
    # Odd differences between size and crop, where half a pixel is rounded, and sides at which the long one is floored.
    for picture in (smooth(300, 401), smooth(401, 300), smooth(97, 60), smooth(161, 160)):
        ours = processor(picture, return_tensors="pt")["pixel_values"][0]
        assert torch.equal(ours, processor(np.array(picture), return_tensors="pt")["pixel_values"][0])
        theirs = transform(picture)
        assert ours.shape == theirs.shape
        difference = (grey_values(ours, processor) - grey_values(theirs, processor)).abs()
        # PIL and torchvision round differently between their two passes; a shift by a pixel would give far more.
        assert difference.max() < 2.5
        assert difference.mean() < 0.05


@pytest.mark.parametrize("change", [{"crop_mode": "border"}, {"input_size": (3, 32, 48)}, {"input_size": (1, 32, 32)}])
def test_a_transform_of_another_kind_is_refused(change):
    cfg = timm.get_pretrained_cfg("test_resnet").to_dict() | change
    with pytest.raises(ValueError, match=r"vision tower wants inputs of .* but this processor makes .* Choose"):
        SemArtImageProcessor.from_timm(cfg)


def test_a_strip_costs_no_more_than_a_picture(processor):
    strip = Image.new("RGB", (60_000, 2), "red")
    strip.paste("blue", (29_990, 0, 30_010, 2))
    pixel_values = processor.image_processor(strip, return_tensors="pt")["pixel_values"][0]
    # Resized as a whole it would be 34 x 1,020,000 pixels.
    assert pixel_values.shape == (3, 32, 32)
    assert (grey_values(pixel_values, processor.image_processor)[2] > 250).all()
