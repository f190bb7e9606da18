import copy
import math
import re

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from rounding import rounding
from transformers import DistilBertConfig

from semart_hf.documents.evaluation_report import explanation_page
from semart_hf.evaluation.explanations import explain, integrated_gradients, log_odds_of, seen_part
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import ArtClassificationPipeline
from semart_hf.model.processing_semart import SemArtImageProcessor, SemArtProcessor

TEXT = "the Lady with a mill, snow and saints of Delft a river view"


def picture_of(seed):
    """A picture of coloured blocks: noise would average out in every tower."""
    blocks = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blocks.repeat(16, axis=0).repeat(16, axis=1))


def tower_model(tiny_model, tiny_processor, tower, size=96, **fields):
    torch.manual_seed(1)
    text = DistilBertConfig(**{**tiny_model.config.text_config.to_dict(), "model_type": "distilbert"})
    fields |= {"pretrained": False, "image_size": size, "fusion_dim": 32, "frozen_vision_stages": 1}
    model = SemArtForArtClassification.from_towers(tower, text, tiny_model.config.tasks, **fields)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "head_" in name and name.endswith("weight"):
                parameter.normal_(std=1.0)
            elif name == "text_tower.embeddings.word_embeddings.weight":
                parameter.normal_(std=0.5)
    cfg = timm.get_pretrained_cfg(tower).to_dict() | {"input_size": (3, size, size)}
    image_processor = SemArtImageProcessor.from_timm(cfg)
    return model.eval(), SemArtProcessor(image_processor, tiny_processor.tokenizer)


@pytest.fixture(scope="module", params=["test_resnet", "test_vit", "test_efficientnet"])
def model_and_processor(request, tiny_model, tiny_processor):
    return tower_model(tiny_model, tiny_processor, request.param)


def log_odds(model, inputs, task, index):
    with torch.no_grad():
        return float(log_odds_of(model(**inputs).logits[task], index))


def change_from_blank(model, processor, inputs):
    """Log odds of the second school, less those with a blank picture and masked words."""
    ids = inputs["input_ids"]
    blank = {name: torch.zeros_like(value) if name == "pixel_values" else value for name, value in inputs.items()}
    blank["input_ids"] = torch.where(ids > 4, torch.tensor(processor.tokenizer.mask_token_id), ids)
    return log_odds(model, inputs, "school", 1) - log_odds(model, blank, "school", 1)


def test_contributions_add_up_to_the_change_in_log_odds_of_what_was_seen(model_and_processor):
    model, processor = model_and_processor
    inputs = dict(processor(images=picture_of(0), text=TEXT))
    pixels, tokens = integrated_gradients(model, processor, inputs, "school", 1)
    change = change_from_blank(model, processor, inputs)
    assert float(pixels.sum() + tokens.sum()) == pytest.approx(change, abs=0.05 + 0.05 * abs(change))
    picture = picture_of(2)
    explanation = explain(model, processor, image=picture, text=TEXT, task="medium")
    assert explanation.heat.shape == (96, 96)
    assert np.array_equal(np.asarray(explanation.picture), np.asarray(picture))  # the painting, not the input
    width = processor.image_processor.crop_size["width"] / processor.image_processor.resized_side
    assert explanation.seen[2] - explanation.seen[0] == pytest.approx(width, abs=1e-6)


PROBED = {"probe_share": 0.5, "text_pooling": "mean", "trainable_text_layers": 0}


@pytest.mark.parametrize("fields", [{"text_lexicon": True}, PROBED], ids=["network", "probe"])
def test_what_a_lexicon_says_is_part_of_the_words_contributions(tiny_model, tiny_processor, fields):
    model, processor = tower_model(tiny_model, tiny_processor, "test_resnet", **fields)
    inputs = dict(processor(text=TEXT))
    lexicon = (model.probe or model).lexicon
    lexicon.learn_idf(inputs["input_ids"].tolist(), processor.tokenizer.all_special_ids)
    _, silent = integrated_gradients(model, processor, inputs, "school", 1)
    with torch.no_grad():
        lexicon.weight.normal_(std=3.0)
    _, tokens = integrated_gradients(model, processor, inputs, "school", 1)
    change = change_from_blank(model, processor, inputs)
    assert float(tokens.sum()) == pytest.approx(change, abs=0.05 + 0.05 * abs(change))
    assert float((tokens - silent).abs().max()) > 0.1


def test_deleting_the_marked_part_of_the_picture_matters_more(model_and_processor):
    model, processor = model_and_processor
    generator = np.random.default_rng(0)
    marked_drops, random_drops = [], []
    for seed in range(6):
        inputs = dict(processor(images=picture_of(seed)))
        explanation = explain(model, processor, image=picture_of(seed), task="type")
        index = model.config.labels("type").index(explanation.label)
        before = log_odds(model, inputs, "type", index)
        cells = explanation.heat.reshape(6, 16, 6, 16).mean((1, 3)).ravel()

        def drop(chosen, inputs=inputs, before=before, index=index):
            mask = torch.zeros(36)
            mask[torch.tensor(chosen)] = 1
            mask = mask.reshape(6, 6).repeat_interleave(16, 0).repeat_interleave(16, 1)
            deleted = {**inputs, "pixel_values": inputs["pixel_values"] * (1 - mask)}
            return before - log_odds(model, deleted, "type", index)

        marked_drops.append(drop(np.argsort(-cells)[:9].copy()))
        random_drops += [drop(generator.choice(36, 9, replace=False)) for _ in range(8)]
    assert np.mean(marked_drops) > np.mean(random_drops) + np.std(random_drops) / 2


def test_masking_the_marked_words_matters_more(model_and_processor):
    model, processor = model_and_processor
    mask_id = processor.tokenizer.mask_token_id
    inputs = dict(processor(text=TEXT))
    generator = np.random.default_rng(0)
    marked_drops, random_drops = [], []
    for task in model.config.task_names:
        _, tokens = integrated_gradients(model, processor, inputs, task, 0)
        before = log_odds(model, inputs, task, 0)
        is_word = torch.where(inputs["input_ids"][0] > 4)[0]

        def drop(positions, task=task, before=before):
            ids = inputs["input_ids"].clone()
            ids[0, positions] = mask_id
            return before - log_odds(model, {**inputs, "input_ids": ids}, task, 0)

        marked_drops.append(drop(is_word[tokens[is_word].topk(4).indices]))
        random_drops += [drop(is_word[generator.choice(len(is_word), 4, replace=False)]) for _ in range(10)]
    assert np.mean(marked_drops) > np.mean(random_drops) + np.std(random_drops) / 2


def test_words_are_the_text_s_own_and_bad_input_is_refused(tiny_model, tiny_processor):
    explanation = explain(tiny_model, tiny_processor, text=TEXT, task="school")
    assert [word for word, _ in explanation.words] == TEXT.split()
    total = pytest.approx(explanation.text_total, abs=rounding(1024, layers=20, size=10))
    assert sum(weight for _, weight in explanation.words) == total
    assert explanation.heat is None
    long = explain(tiny_model, tiny_processor, text="a view " * 40, task="school").words
    assert len(long) == 80
    assert long[29][1] is not None
    assert long[79] == ("view", None)
    with pytest.raises(ValueError, match="neither a picture nor a text"):
        explain(tiny_model, tiny_processor, text="  ", task="type")
    with pytest.raises(ValueError, match="Unknown task 'style'"):
        explain(tiny_model, tiny_processor, text="a", task="style")


@pytest.mark.parametrize(
    ("fields", "size", "part"),
    [
        ({"size": {"shortest_edge": 100}, "crop_size": {"height": 90, "width": 90}}, (200, 100), (0.275, 0.05)),
        ({"size": {"shortest_edge": 100}, "crop_size": {"height": 90, "width": 90}}, (50, 100), (0.05, 0.275)),
        ({"size": {"height": 100, "width": 100}, "crop_size": {"height": 100, "width": 100}}, (300, 100), (0, 0)),
        ({"size": {"height": 100, "width": 100}, "crop_size": {"height": 80, "width": 80}}, (300, 100), (0.1, 0.1)),
    ],
    ids=["broad", "upright", "squashed", "squashed and cropped"],
)
def test_the_part_that_is_seen_is_the_middle(fields, size, part):
    found = seen_part(SemArtImageProcessor(**fields), size)
    assert found == pytest.approx((*part, 1 - part[0], 1 - part[1]))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_answer_has_the_pipeline_s_probability(tiny_model, tiny_processor, precision):
    picture = picture_of(4)
    classify = ArtClassificationPipeline(model=tiny_model, processor=tiny_processor, device="cpu", precision=precision)
    (answer,) = classify({"image": picture, "text": TEXT}, tasks="school", top_k=1)["school"]
    found = explain(tiny_model, tiny_processor, image=picture, text=TEXT, task="school", precision=precision)
    assert found.label == answer["label"]
    # One function of one input in one precision; what batches add by order is rounding.
    assert found.probability == pytest.approx(answer["score"], abs=1e-5 if precision == "fp32" else 2**-7)


def test_a_model_in_training_mode_is_explained_in_evaluation_mode_and_keeps_it(tiny_model, tiny_processor):
    asked = {"task": "type", "image": picture_of(1), "text": TEXT}
    expected = explain(tiny_model, tiny_processor, **asked)
    tiny_model.train()
    modes = [module.training for module in tiny_model.modules()]
    found = explain(tiny_model, tiny_processor, **asked)
    assert [module.training for module in tiny_model.modules()] == modes
    tiny_model.eval()
    assert modes[0]
    assert (found.label, found.probability) == (expected.label, pytest.approx(expected.probability, abs=1e-5))
    assert found.text_total == pytest.approx(expected.text_total, abs=1e-3)


def test_of_several_labels_each_is_explained_by_its_own_odds(tiny_model, tiny_processor):
    model = copy.deepcopy(tiny_model)
    types = {"name": "type", "labels": ["portrait", "landscape", "UNK"], "kind": "multi_label"}
    model.config.set_tasks([types, *model.config.tasks[1:]])
    picture = picture_of(0)
    inputs = tiny_processor(images=picture, text=TEXT)
    with torch.no_grad():
        logit = float(model(**inputs).logits["type"][0, 1])
        blank = dict(inputs, pixel_values=torch.zeros_like(inputs["pixel_values"]))
        ids, mask = inputs["input_ids"], torch.tensor(tiny_processor.tokenizer.mask_token_id)
        blank["input_ids"] = torch.where(ids > 4, mask, ids)
        change = logit - float(model(**blank).logits["type"][0, 1])
    found = explain(model, tiny_processor, task="type", label="landscape", image=picture, text=TEXT, precision="fp32")
    assert found.label == "landscape"
    assert found.probability == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)
    assert found.picture_total + found.text_total == pytest.approx(change, abs=0.02 * max(1, abs(change)))
    with pytest.raises(ValueError, match=r"Got the label 'seascape' of task type\. Allowed are \['portrait'"):
        explain(model, tiny_processor, task="type", label="seascape", text=TEXT)
    pipeline = ArtClassificationPipeline(model=model, processor=tiny_processor, device="cpu")
    answer = pipeline({"image": picture, "text": TEXT}, tasks="type")["type"]
    page = explanation_page(pipeline, [("one", {"image": picture, "text": TEXT})])
    headlines = re.findall(r"<h3>type: (\w+),", page)
    assert headlines == ([one["label"] for one in answer] or headlines[:1])
