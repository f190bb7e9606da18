import pytest
import torch
from small_models import ROUNDING, TASKS, build
from torch.nn import functional
from transformers import AutoModel

from semart_hf.model.towers_semart import pool_pictures

SHARE = 0.25
IMAGES, TEXTS = torch.tensor([True, False, True, True]), torch.tensor([True, True, False, True])


@pytest.fixture(scope="module")
def model():
    model = build(probe_share=SHARE, text_pooling="mean", trainable_text_layers=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.probe.lexicon.idf.fill_(1.0)
        for name, parameter in model.probe.named_parameters():
            if not name.startswith(("vision_tower.", "lexicon.idf")):
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        for parameter in model.vision_tower.parameters():  # as after training
            parameter.mul_(1.1)
    return model


def batch():
    generator = torch.Generator().manual_seed(0)
    inputs = {"pixel_values": torch.randn(4, 3, 32, 32, generator=generator)}
    inputs["input_ids"] = torch.randint(1, 100, (4, 6), generator=generator)
    inputs["attention_mask"] = (torch.arange(6) < torch.tensor([[6], [4], [2], [5]])).long()
    return inputs


def side_by_side(logits):
    return torch.cat(list(logits.values()), 1)


def logits_of_network(model, inputs):
    """What the network alone says: the model's logits in training mode, whose parts are in evaluation mode."""
    model.training = True
    try:
        with torch.no_grad():
            return side_by_side(model(**inputs).logits)
    finally:
        model.training = False


@torch.no_grad()
def test_the_answer_is_the_mean_of_network_and_regression_and_without_a_picture_the_regression(model):
    inputs = batch()
    masks = {"has_image": IMAGES, "has_text": TEXTS}
    found = side_by_side(model(**inputs, **masks).logits)
    probe, mask = model.probe, inputs["attention_mask"]
    pictures = probe.vision_projection(pool_pictures(probe.vision_tower, inputs["pixel_values"], "stages"))
    hidden = model.text_tower(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state
    means = torch.stack([states[: int(row.sum())].mean(0) for states, row in zip(hidden, mask, strict=True)])
    texts = probe.text_projection(means) + probe.lexicon(inputs["input_ids"], mask)
    probed = torch.where(IMAGES[:, None], pictures, probe.absent_image)
    probed = probed + torch.where(TEXTS[:, None], texts, probe.absent_text)
    network = logits_of_network(model, inputs | masks)
    share = torch.where(IMAGES, SHARE, 1.0)[:, None]
    assert torch.allclose(found, share * probed + (1 - share) * network, atol=10 * ROUNDING)
    assert (found - network).abs().max() > 0.1
    both_alone = model(**inputs, **masks, each_alone=True).alone_logits
    by_image = model(pixel_values=inputs["pixel_values"], has_image=IMAGES).logits
    by_text = model(input_ids=inputs["input_ids"], attention_mask=mask, has_text=TEXTS).logits
    for name, expected in (("image", by_image), ("text", by_text)):
        assert torch.allclose(side_by_side(both_alone[name]), side_by_side(expected), atol=10 * ROUNDING)
    alone = side_by_side(model(input_ids=inputs["input_ids"], attention_mask=mask).logits)
    assert torch.allclose(alone, probe.absent_image + texts, atol=10 * ROUNDING)


@torch.no_grad()
def test_stored_states_of_texts_give_the_same_answer(model):
    inputs = batch()
    hidden = model.encode_frozen_text(inputs["input_ids"], inputs["attention_mask"], 2)
    ids = inputs["input_ids"] * inputs["attention_mask"]  # 0 is a token without a weight
    model.probe.lexicon.idf[0] = 0.0
    stored = {"input_ids": ids, "text_hidden": hidden, "attention_mask": torch.ones(4, 1, dtype=torch.long)}
    found = side_by_side(model(pixel_values=inputs["pixel_values"], **stored).logits)
    assert torch.allclose(found, side_by_side(model(**inputs).logits), atol=10 * ROUNDING)


@pytest.mark.parametrize("is_auto", [True, False])
def test_saved_and_loaded_with_labels_in_another_order_it_answers_the_same(model, tmp_path, is_auto):
    model.save_pretrained(tmp_path)
    assert model.config.format_version == "1.3"
    loader = AutoModel if is_auto else type(model)
    again = loader.from_pretrained(tmp_path)
    others = [{**task, "labels": task["labels"][::-1]} for task in TASKS[::-1]]
    turned = loader.from_pretrained(tmp_path, tasks=others)
    started = type(model).from_checkpoint(tmp_path, others)
    assert not any(parameter.requires_grad for parameter in started.probe.parameters())
    with torch.no_grad():
        expected = model(**batch()).logits
        for other, order in ((again, 1), (turned, -1), (started, -1)):
            found = other.eval()(**batch()).logits
            for task, values in expected.items():
                assert torch.allclose(found[task], values if order == 1 else values.flip(1), atol=10 * ROUNDING)


@torch.no_grad()
def test_the_network_may_see_smaller_pictures_than_the_probe(model):
    pixels = batch()["pixel_values"]
    expected = model.get_image_features(functional.interpolate(pixels, (16, 16), mode="bilinear"))
    probed = sum(model.probe(pixels, None, None, None, (None, None)))
    model.config.network_image_size = 16
    try:
        assert torch.allclose(model.get_image_features(pixels), expected, atol=ROUNDING)
        found = side_by_side(model(pixel_values=pixels).logits)
        network = logits_of_network(model, {"pixel_values": pixels})
    finally:
        model.config.network_image_size = None
    assert torch.allclose(found, SHARE * probed + (1 - SHARE) * network, atol=10 * ROUNDING)


def test_it_never_learns_and_its_text_tower_does_not_either(model):
    assert not any(parameter.requires_grad for parameter in model.probe.parameters())
    model.train()
    assert not any(module.training for module in model.probe.modules())
    model.eval()
    with pytest.raises(ValueError, match=r"a text tower that does not learn\. Set trainable_text_layers"):
        build(probe_share=SHARE, trainable_text_layers=1)
    with pytest.raises(ValueError, match=r"probe_share is 1\.5"):
        build(probe_share=1.5, trainable_text_layers=0)
