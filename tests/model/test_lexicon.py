import math

import numpy as np
import pytest
import torch
from rounding import rounding
from sklearn.feature_extraction.text import TfidfVectorizer
from small_models import build as build_model
from small_models import small_text

from semart_hf.model.linear_semart import Lexicon

PAD, CLS, SEP = SPECIAL = (0, 2, 3)
# 20 layers of at most 1,024 terms, and a lexicon whose texts have up to 64 tokens.
ROUNDING, LEXICON_ROUNDING = rounding(1024, layers=20), rounding(64, layers=2, size=4)
TRAIN = [[CLS, 7, 8, 8, 8, SEP], [CLS, 7, 9, SEP], [CLS, 7, 10, 11, 11, SEP]]


def build(**fields):
    model = build_model(text=small_text(vocab_size=50), **{"image_size": 32, "text_lexicon": True, **fields})
    if model.lexicon is not None:
        model.lexicon.learn_idf(TRAIN, SPECIAL)
    return model.eval()


def with_weights(model):
    with torch.no_grad():
        model.lexicon.weight.copy_(torch.randn(50, 5, generator=torch.Generator().manual_seed(1)))
    return model


def batch():
    ids = [[CLS, 8, 9, 8, SEP, PAD], [CLS, 11, 7, 10, 20, SEP], [CLS, SEP, PAD, PAD, PAD, PAD]]
    return {
        "pixel_values": torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2)),
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]]),
        "has_text": torch.tensor([True, True, False]),
    }


def joined(logits):
    return torch.cat(list(logits.values()), dim=1)


def test_the_term_weights_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    train = [list(generator.integers(4, 40, size=size)) for size in generator.integers(1, 60, size=30)]
    asked = [list(generator.integers(4, 50, size=size)) for size in (3, 25, 60)]
    vectorizer = TfidfVectorizer(analyzer=lambda ids: ids, sublinear_tf=True)
    vectorizer.fit(train)
    expected = np.zeros((3, 50))
    expected[:, [int(token) for token in vectorizer.get_feature_names_out()]] = vectorizer.transform(asked).toarray()
    lexicon = Lexicon(50, 50)
    lexicon.learn_idf([[CLS, *ids, SEP] for ids in train], SPECIAL)
    with torch.no_grad():
        lexicon.weight.copy_(torch.eye(50))
    padded = torch.full((3, 64), PAD)
    for row, ids in enumerate(asked):
        padded[row, : len(ids) + 2] = torch.tensor([CLS, *ids, SEP])
    np.testing.assert_allclose(lexicon(padded).detach().numpy(), expected, atol=LEXICON_ROUNDING)


def test_idf_and_logits_by_hand_and_what_is_no_known_token_counts_for_nothing():
    lexicon = with_weights(build()).lexicon
    rare = 1 + math.log(4 / 2)  # in one of three texts; token 7 is in all three
    expected = torch.zeros(50)
    expected[[7, 8, 9, 10, 11]] = torch.tensor([1.0, rare, rare, rare, rare])
    assert torch.allclose(lexicon.idf, expected)
    twice, once = (1 + math.log(2)) * rare, 1.0
    length = math.hypot(twice, once)
    expected = (twice * lexicon.weight[8] + once * lexicon.weight[7]) / length
    assert torch.allclose(lexicon(torch.tensor([[CLS, 8, 7, 8, SEP]]))[0], expected, atol=LEXICON_ROUNDING)
    plain, mask = lexicon(torch.tensor([[8, 7, 8]])), torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]])
    ids = torch.tensor([[CLS, 8, 7, 8, SEP, PAD, PAD, PAD]])
    masked = torch.tensor([[CLS, 8, 7, 8, SEP, 8, 9, 9]])
    for found in (lexicon(ids), lexicon(ids, mask), lexicon(masked, mask)):
        assert torch.allclose(found, plain, atol=LEXICON_ROUNDING)
    assert torch.equal(lexicon(ids, has_text=torch.tensor([False])), torch.zeros(1, 5))
    logits = lexicon(torch.tensor([[CLS, SEP, PAD], [CLS, 49, SEP]]))
    assert torch.equal(logits, torch.zeros(2, 5))
    logits.sum().backward()
    assert torch.equal(lexicon.weight.grad, torch.zeros(50, 5))
    with pytest.raises(ValueError, match=r"2 texts without a token\. Check text_columns, or set text_lexicon: f"):
        lexicon.learn_idf([[CLS, SEP], [CLS, SEP]], SPECIAL)


def test_its_logits_are_added_to_the_logits_of_rows_with_a_text():
    without, model, inputs = build(text_lexicon=False), build(), batch()
    assert model.load_state_dict(without.state_dict(), strict=False).missing_keys == ["lexicon.weight", "lexicon.idf"]
    with torch.no_grad():
        plain = joined(without(**inputs).logits)
        assert torch.allclose(joined(model(**inputs).logits), plain, atol=ROUNDING)  # new weights are zeros
        found = joined(with_weights(model)(**inputs).logits)
        added = model.lexicon(inputs["input_ids"])
    assert torch.allclose(found, plain + added, atol=ROUNDING)
    assert added[:2].abs().min() > 0
    assert torch.allclose(found[2], plain[2], atol=ROUNDING)
