import numpy as np
import pytest
import timm
import torch
from PIL import Image
from release_builder import encoded
from rounding import rounding
from torch.utils.data import DataLoader

from semart_hf.data.collator import ArtCollator
from semart_hf.data.data_arguments import Augmentation
from semart_hf.data.sampling import DRAW_KEY, PLACEHOLDER, SeededSampler, TrainingPaintings
from semart_hf.data.training_texts import learn_tokenizer
from semart_hf.model.processing_semart import SemArtImageProcessor, SemArtProcessor

TASKS = [{"name": "type", "labels": ["a", "b", "UNK"]}, {"name": "school", "labels": ["x", "UNK"]}]

# A pixel's place in a picture of 50 pixels is the sum of 3 terms; a wrong place shows by as much as neighbours differ,
# by up to 5 after normalising.
ROUNDING = rounding(3, layers=3, size=50 * 5)


@pytest.fixture(scope="module")
def processor():
    tokenizer = learn_tokenizer(["a view of delft with a river"] * 3, max_length=16)
    cfg = timm.get_pretrained_cfg("test_resnet").to_dict() | {"input_size": (3, 32, 32)}
    return SemArtProcessor(SemArtImageProcessor.from_timm(cfg), tokenizer)


def rows(number=6):
    generator = np.random.default_rng(0)
    return [
        {
            "image": Image.fromarray(generator.integers(0, 255, (40, 50, 3), dtype=np.uint8)),
            "text": f"a view of delft {'with a river' * (row % 2)}",
            "type": row % 3,
            "school": None if row == 1 else row % 2,
        }
        for row in range(number)
    ]


def test_evaluation_rows_equal_the_processor(processor):
    batch = ArtCollator(processor, TASKS)(rows())
    expected = processor(images=[row["image"] for row in rows()], text=[row["text"] for row in rows()])
    assert set(batch) == {"pixel_values", "input_ids", "attention_mask", "labels"}
    assert all(torch.equal(batch[name], expected[name]) for name in expected)
    assert batch["labels"].tolist() == [[0, 0], [1, -100], [2, 0], [0, 1], [1, 0], [2, 1]]


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_rows_that_lack_a_modality_are_marked(processor, nothing):
    paintings = rows(3)
    paintings[0]["image"] = nothing
    paintings[2]["text"] = nothing or "  "
    for draw in (False, True):
        batch_rows = [row | ({DRAW_KEY: (0, 0, 1)} if draw else {}) for row in paintings]
        batch = ArtCollator(processor, TASKS)(batch_rows)
        assert batch["has_image"].tolist() == [False, True, True]
        assert batch["has_text"].tolist() == [True, True, False]
        assert batch["pixel_values"].shape == (3, 3, 32, 32)
        assert not batch["pixel_values"][0].any()
    paintings = [row | {"image": None, "text": None} for row in rows(2)]
    batch = ArtCollator(processor, TASKS)(paintings)
    assert batch["has_text"].tolist() == [False, False]  # they keep their place
    assert batch["labels"].tolist() == [[0, 0], [1, -100]]


def test_modality_dropout_has_its_rates_and_never_takes_both(processor):
    collator = ArtCollator(processor, TASKS, image_dropout=0.2, text_dropout=0.3)
    row = rows(1)[0]
    shown = [collator._shown(row, np.random.default_rng([0, 0, index])) for index in range(4000)]
    assert np.mean([not has_image for has_image, _ in shown]) == pytest.approx(0.2, abs=0.025)
    assert np.mean([not has_text for _, has_text in shown]) == pytest.approx(0.3, abs=0.025)
    assert all(has_image or has_text for has_image, has_text in shown)
    assert collator._shown(row | {"text": None}, np.random.default_rng(0)) == (True, False)


def test_training_rows_depend_neither_on_workers_nor_on_batch_size(processor):
    paintings = rows(7)
    augmentation = Augmentation(crop_scale=(0.5, 1.0), horizontal_flip=0.5)
    collator = ArtCollator(processor, TASKS, augmentation=augmentation, image_dropout=0.3)

    def epoch(number, **options):
        sampler = SeededSampler(len(paintings), seed=5)
        sampler.set_epoch(number)
        loader = DataLoader(TrainingPaintings(paintings, seed=5), sampler=sampler, collate_fn=collator, **options)
        pictures, texts = [], []
        for batch in loader:
            present = batch.get("has_image", torch.ones(len(batch["labels"]), dtype=torch.bool))
            pictures += list(batch["pixel_values"][present]) if "pixel_values" in batch else []
            shown = zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True)
            texts += [tuple(ids[is_token].tolist()) for ids, is_token in shown]
        return torch.stack(pictures), texts

    pictures, texts = epoch(1, batch_size=3)
    again, same_texts = epoch(1, batch_size=2, num_workers=2)
    assert torch.allclose(pictures, again, atol=ROUNDING)
    assert texts == same_texts
    assert collator([TrainingPaintings(paintings, seed=5)[1, PLACEHOLDER]])["row_index"].tolist() == [PLACEHOLDER]
    others, _ = epoch(2, batch_size=3)
    assert pictures.shape != others.shape or not torch.equal(pictures, others)


@pytest.mark.parametrize("is_training", [True, False])
def test_a_picture_that_cannot_be_read_costs_no_other_row_anything(processor, is_training, caplog):
    whole = [row | ({DRAW_KEY: (0, 0, number)} if is_training else {}) for number, row in enumerate(rows(4))]
    truncated = {"bytes": encoded(whole[1]["image"])[:300], "path": None}
    damaged = [dict(row) for row in whole]
    damaged[1]["image"] = truncated
    damaged[2] |= {"image": truncated, "text": " "}
    collator = ArtCollator(processor, TASKS, text_dropout=1.0, reports_unreadable=True)
    batch, expected = collator(damaged), collator(whole)
    assert batch["has_image"].tolist() == [True, False, False, True]
    assert batch["has_text"].tolist() == [not is_training, True, False, not is_training]
    assert torch.equal(batch["pixel_values"][[0, 3]], expected["pixel_values"][[0, 3]])
    assert batch["labels"].tolist() == [*expected["labels"][:2].tolist(), [-100, -100], expected["labels"][3].tolist()]
    assert [place for place, _ in batch["unreadable"]] == [1, 2]
    assert "unreadable" not in expected
    collator(damaged)
    assert len([record for record in caplog.records if "its text alone is used" in record.getMessage()]) == 1
    alone = ArtCollator(processor, TASKS, modality="image")(damaged)
    assert alone["labels"][1].tolist() == [-100, -100]
    assert "unreadable" not in alone


def test_labels_are_names_or_numbers_and_impossible_settings_are_refused(processor):
    labels = [0, None, float("nan"), -100, TASKS[0]["labels"][1], 1.0]
    batch = ArtCollator(processor, TASKS)([rows(1)[0] | {"type": label} for label in labels])
    assert batch["labels"][:, 0].tolist() == [0, -100, -100, -100, 1, 1]
    with pytest.raises(ValueError, match="Label 7 of task 'type' is not in the model's vocabulary of 3 labels"):
        ArtCollator(processor, TASKS)([rows(1)[0] | {"type": 7}])
    for label in (["portrait"], float("inf")):
        with pytest.raises(TypeError, match=r"Got the type label (\['portrait'\]|inf), but a label is a name or its"):
            ArtCollator(processor, TASKS)([rows(1)[0] | {"type": label}])
    with pytest.raises(ValueError, match="Unknown modality 'sound'"):
        ArtCollator(processor, TASKS, modality="sound")
    with pytest.raises(ValueError, match=r"image_dropout is 0.6 and text_dropout 0.5"):
        ArtCollator(processor, TASKS, image_dropout=0.6, text_dropout=0.5)
