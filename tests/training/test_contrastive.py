import math

import numpy as np
import pytest
import torch
from PIL import Image
from rounding import rounding
from sklearn.cross_decomposition import CCA
from small_trainer import DRY_TEXT, STEPS_ALONE, make_model, make_trainer, parts_of
from torch import nn

from semart_hf.data.collator import ArtCollator, are_copies, pair_keys
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.sampling import DRAW_KEY
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_trainer
from semart_hf.training.head_start import canonical_projections
from semart_hf.training.losses import contrastive_sum


def by_hand(image, text, scale, pairs, left_out=()):
    """The definition, pair by pair, in Python's numbers."""
    vectors = [[[x / math.hypot(*row) for x in row] for row in side.tolist()] for side in (image, text)]
    total = 0.0
    for row in pairs:
        for own, others in (vectors, vectors[::-1]):
            candidates = [other for other in pairs if (row, other) not in left_out and (other, row) not in left_out]
            scores = {c: scale * sum(a * b for a, b in zip(own[row], others[c], strict=True)) for c in candidates}
            total += (math.log(sum(math.exp(score) for score in scores.values())) - scores[row]) / 2
    return total


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 4, generator=generator), 3 * torch.randn(5, 4, generator=generator)


def pictures(*seeds):
    found = [np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8) for seed in seeds]
    return [Image.fromarray(values).resize((256, 192), Image.Resampling.BICUBIC) for values in found]


def test_the_sum_is_that_of_a_hand_computation_without_rows_that_lack_a_pair_and_copies(features):
    scale, every = torch.tensor([7.0]), torch.ones(5, dtype=torch.bool)
    assert contrastive_sum(*features, scale, every).item() == pytest.approx(by_hand(*features, 7, range(5)), rel=1e-5)
    some = torch.tensor([True, False, True, True, False])
    image, text = (side.clone().requires_grad_() for side in features)
    found = contrastive_sum(image, text, scale, some)
    assert found.item() == pytest.approx(by_hand(*features, 7, [0, 2, 3]), rel=1e-5)
    found.backward()
    for side in (image, text):
        assert torch.equal(side.grad.abs().sum(1) > 0, some)
    assert contrastive_sum(image, text, scale, ~every).item() == 0
    shown = pictures(0, 1, 2, 3, 4)
    shown[3] = shown[0].resize((128, 96))
    keys = pair_keys(shown, ["a view", "a portrait", "A  View", "the river", "the night"])
    copies = [[row, other] for row, other in are_copies(keys, keys).nonzero().tolist() if row < other]
    assert copies == [[0, 2], [0, 3]]
    expected = by_hand(*features, 7, range(5), [(0, 2), (0, 3)])
    assert contrastive_sum(*features, scale, every, keys).item() == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(by_hand(*features, 7, range(5)), rel=1e-2)


@pytest.fixture(scope="module")
def parts(small_release):
    return parts_of(small_release, vision="test_vit", frozen_vision_stages=0)


def test_a_steps_loss_is_the_mean_over_its_pairs_each_among_those_of_its_batch(parts, tmp_path):
    losses = {}
    scale = nn.Parameter(torch.tensor([2.0]))
    for weight in (0.0, 0.5):
        model = make_model(parts, fusion_dropout=0.0, text_args=DRY_TEXT)
        if weight:
            model.config.contrastive, model.logit_scale = True, scale
        options = {"max_steps": 1, "logging_steps": 1, "gradient_accumulation_steps": 2, "contrastive_weight": weight}
        options["collation"] = {"image_dropout": 0.2, "recognises_copies": weight > 0}
        trainer = make_trainer(parts, tmp_path, model, **options, **STEPS_ALONE)
        batches = list(trainer.get_train_dataloader().batch_sampler)[:2]
        total, num_pairs = 0.0, 0
        for keys in batches if weight else ():
            inputs = trainer.data_collator([trainer.train_dataset[key] for key in keys])
            every = torch.ones(8, dtype=torch.bool)
            pairs = (inputs.get("has_image", every) & inputs.get("has_text", every)).nonzero().flatten().tolist()
            copies = are_copies(inputs["pair_keys"], inputs["pair_keys"]).nonzero().tolist()
            given = {name: inputs[name] for name in inputs if name not in ("labels", "row_index", "pair_keys")}
            with torch.no_grad():
                output = model.eval()(**given)
            sides = output.image_features, output.text_features
            total += by_hand(*sides, math.exp(2), pairs, [(a, b) for a, b in copies if a != b])
            num_pairs += len(pairs)
        assert 0 < num_pairs < 16 or not weight
        trainer.train()
        losses[weight] = trainer.state.log_history[0]["loss"]
        assert not weight or scale.item() != 2.0
    bound = rounding(1024, layers=20, size=6)
    assert losses[0.5] - losses[0.0] == pytest.approx(0.5 * total / num_pairs, abs=bound)


def test_keys_are_given_for_training_rows_alone_and_the_two_settings_must_agree(parts, tmp_path):
    trainer = make_trainer(parts, tmp_path)
    collator = ArtCollator(trainer.processing_class, trainer.tasks, recognises_copies=True)
    row = {"image": pictures(0)[0], "text": "a view"}
    assert "pair_keys" not in collator([row])
    assert collator([{**row, DRAW_KEY: (0, 0, 0)}])["pair_keys"].shape == (1, 40)
    for weight, contrastive in ((0.5, False), (0.0, True)):
        model = make_model(parts)
        model.config.contrastive = contrastive
        with pytest.raises(ValueError, match=rf"contrastive_weight is {weight}, but the model has contrastive="):
            make_trainer(parts, tmp_path, model, contrastive_weight=weight)


def test_projections_in_closed_form_have_the_correlations_that_scikit_learn_finds():
    chance = np.random.default_rng(0)
    common = chance.standard_normal((40, 3))
    sides = [common @ chance.standard_normal((3, size)) + 0.1 * chance.standard_normal((40, size)) for size in (6, 5)]
    expected = CCA(4, max_iter=10_000, tol=1e-12).fit_transform(*sides)
    image, text = (torch.from_numpy(side) for side in sides)
    image = torch.cat((image, torch.ones(40, 1)), dim=1)  # a feature that says nothing
    found = [
        (rows @ weight + bias).numpy()
        for rows, (weight, bias) in zip((image, text), canonical_projections(image, text, [1e-9], 8)[0], strict=True)
    ]
    for number in range(4):
        correlations = [np.corrcoef(first[:, number], other[:, number])[0, 1] for first, other in (expected, found)]
        assert correlations[1] == pytest.approx(correlations[0], abs=1e-6)
    for side in found:
        np.testing.assert_allclose((side.mean(), np.square(side).mean()), (0, 1), atol=1e-9)
        assert not side[:, 5:].any()
    strong, weak = (canonical_projections(image, text, [ridge], 8)[0][0][0] for ridge in (1, 1e-9))
    assert strong.norm() < weak.norm()


def test_a_start_by_correlations_is_computed_from_the_towers_features_of_all_pairs(parts, tmp_path):
    splits, _, model, _ = parts
    rows = splits["train"].select(range(40))
    texts = [None if number < 4 else text for number, text in enumerate(rows["text"])]
    rows = rows.remove_columns("text").add_column("text", texts)
    whole = [number for number, row in enumerate(rows) if row["image"] and row["text"]]
    said = []

    def built(**options):
        training = SemArtTrainingArguments(str(tmp_path), report_to="none", **{"contrastive_weight": 1.0} | options)
        data = DataArguments(data="-", vocab_size=300, max_text_length=32, prepare=False)
        return build_trainer({"train": rows, "validation": rows}, model, data, training, say=said.append)

    trainer = built(contrastive_start="correlations")
    assert f"Projections: canonical correlations of {len(whole)} pairs with the ridge" in "\n".join(said)
    ours, processor = trainer.model, trainer.processing_class
    with torch.no_grad():
        inputs = processor(images=[rows[number]["image"]["path"] for number in whole], text=[texts[n] for n in whole])
        image = ours.eval().get_image_features(inputs["pixel_values"])
        text = ours.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    for side in (image, text):
        assert side.mean().item() == pytest.approx(0, abs=1e-4)
        assert side.square().mean().item() == pytest.approx(1, abs=1e-3)
    agreement, chance = (torch.corrcoef(torch.stack((image[:, 0], text[:, 0].roll(by))))[0, 1] for by in (0, 1))
    assert agreement > 0.5 > chance
    with pytest.raises(ValueError, match=r"contrastive_start is 'correlations'.*Leave contrastive_start out"):
        built(contrastive_start="correlations", contrastive_weight=0.0)
    rows = rows.select(range(9))
    with pytest.raises(ValueError, match=r"but \d paintings have a picture and a text. It needs at least 10"):
        built(contrastive_start="correlations")
