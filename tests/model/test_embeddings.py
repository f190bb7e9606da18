import math

import numpy as np
import pytest
import torch
from small_models import ROUNDING, build, rows
from torch.nn import functional as F

from semart_hf.model.modeling_semart import SemArtForArtClassification


def test_features_are_the_projected_towers_and_those_that_the_fusion_reads(pipe):
    model, row = pipe.model, rows()[0]
    inputs = pipe.processor(images=row["image"], text=row["text"])
    image, text = inputs["pixel_values"], (inputs["input_ids"], inputs["attention_mask"])
    with torch.inference_mode():
        output = model(**inputs)
        towers = (
            model.vision_projection(model.vision_tower(image).pooler_output.flatten(1)),
            model.text_projection(model.text_tower(*text).last_hidden_state[:, 0]),
        )
        plain = model.get_image_features(image), model.get_text_features(*text)
        unit = model.get_image_features(image, normalize=True), model.get_text_features(*text, normalize=True)
    fused = output.image_features, output.text_features
    for expected, features, read, normalized in zip(towers, plain, fused, unit, strict=True):
        assert features.shape == (1, model.config.fusion_dim)
        torch.testing.assert_close(features, expected)
        torch.testing.assert_close(read, expected)
        torch.testing.assert_close(normalized, F.normalize(expected, dim=-1))


def test_embed_gives_unit_rows_in_order_and_zeros_for_what_is_missing(pipe):
    paintings = [*rows(), {"image": b"no picture", "text": "a view"}]
    found = pipe.embed(paintings, batch_size=3)
    assert found["image"].shape == found["text"].shape == (8, pipe.model.config.fusion_dim)
    assert found["image"].dtype == found["text"].dtype == np.float32
    assert list(found["errors"]) == [7]
    assert "Painting 7: " in found["errors"][7]
    has_image, has_text = [1, 1, 0, 1, 0, 1, 1, 0], [1, 0, 1, 1, 1, 0, 1, 0]
    for name, is_present in (("image", has_image), ("text", has_text)):
        np.testing.assert_allclose(np.linalg.norm(found[name], axis=1), is_present, atol=1e-6)
    for row, painting in enumerate(rows()):
        alone = pipe.embed(painting)
        for name in ("image", "text"):
            np.testing.assert_allclose(found[name][row], alone[name][0], atol=ROUNDING)
    pixels = pipe.processor(images=rows()[1]["image"])["pixel_values"]
    with torch.inference_mode():
        expected = pipe.model.get_image_features(pixels, normalize=True)
    np.testing.assert_allclose(found["image"][1], expected[0].numpy(), atol=ROUNDING)
    assert pipe.embed([])["image"].shape == (0, pipe.model.config.fusion_dim)
    with pytest.raises(ValueError, match="Painting 0"):
        pipe.embed([{"image": b"no picture"}], on_error="raise")
    with pytest.raises(ValueError, match="neither a picture nor a text"):
        pipe.embed({"text": " "})


def test_a_contrastive_model_has_a_scale_more_and_all_else_stays_as_it_was(tmp_path):
    plain, contrastive = build().eval(), build(contrastive=True).eval()
    extra = set(contrastive.state_dict()) - set(plain.state_dict())
    assert extra == {"logit_scale"}
    assert all(torch.equal(value, contrastive.state_dict()[name]) for name, value in plain.state_dict().items())
    inputs = {"pixel_values": torch.ones(2, 3, 32, 32), "input_ids": torch.ones(2, 4, dtype=torch.long)}
    assert plain(**inputs).logit_scale is None
    output = contrastive(**inputs)
    assert output.logit_scale.item() == pytest.approx(1 / 0.07)
    for name, expected in plain(**inputs).logits.items():
        assert torch.equal(output.logits[name], expected)
    for features, read in (
        (contrastive.get_image_features(inputs["pixel_values"]), output.image_features),
        (contrastive.get_text_features(inputs["input_ids"]), output.text_features),
    ):
        torch.testing.assert_close(features, read)
    contrastive.save_pretrained(tmp_path / "contrastive")
    plain.save_pretrained(tmp_path / "plain")
    loaded = SemArtForArtClassification.from_pretrained(tmp_path / "contrastive")
    assert torch.equal(loaded.logit_scale, contrastive.logit_scale)
    for start, wanted in (("plain", True), ("contrastive", False), ("contrastive", True)):
        begun = SemArtForArtClassification.from_checkpoint(tmp_path / start, plain.config.tasks, contrastive=wanted)
        assert hasattr(begun, "logit_scale") == wanted
        assert not wanted or begun.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
