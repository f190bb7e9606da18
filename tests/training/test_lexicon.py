import pytest
import torch
from rounding import rounding
from small_trainer import DRY_TEXT, LOSS_ROUNDING, STEPS_ALONE, losses_of, parts_of

from semart_hf.data.data_arguments import DataArguments
from semart_hf.model.linear_semart import Lexicon
from semart_hf.recipes.recipe import ModelArguments
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_trainer
from semart_hf.training.losses import add_l2_penalty


@pytest.fixture(scope="module")
def parts(small_release):
    fields = {"image_size": 32, "fusion_dropout": 0.0, "frozen_vision_stages": 0, "text_lexicon": True}
    return parts_of(small_release, text_args=DRY_TEXT, **fields)


def make_trainer(parts, folder, *, cached="false", trainable=1, workers=0):
    model = ModelArguments(**{**vars(parts[2]), "trainable_text_layers": trainable})
    sizes = {"vocab_size": 300, "max_text_length": 32, "text_dropout": 0.3}
    cache = {"cache_frozen_text": cached, "text_cache_dtype": "fp32", "text_cache_dir": str(folder / "cache")}
    usual = {"report_to": "none", "disable_tqdm": True, "logging_steps": 1, "precision": "fp32", **STEPS_ALONE}
    usual |= {"per_device_train_batch_size": 16, "num_train_epochs": 2, "dataloader_num_workers": workers}
    rates = {"learning_rate": 1e-3, "lexicon_learning_rate": 0.05}
    training = SemArtTrainingArguments(str(folder / "run"), **usual, **rates)
    return build_trainer(parts[0], model, DataArguments(data="-", **sizes, **cache), training, say=lambda _: None)


@pytest.fixture(scope="module")
def trained(parts, tmp_path_factory):
    trainer = make_trainer(parts, tmp_path_factory.mktemp("lexicon"))
    return trainer, losses_of(trainer)


def test_idf_are_those_of_the_training_texts_and_it_learns_at_its_own_rate_without_decay(trained, parts):
    trainer, _ = trained
    tokenizer = trainer.processing_class.tokenizer
    expected = Lexicon(trainer.model.config.text_config.vocab_size, 1)
    texts = [text for text in parts[0]["train"]["text"] if text]
    expected.learn_idf(tokenizer(texts, truncation=True, max_length=32)["input_ids"], tokenizer.all_special_ids)
    assert torch.equal(trainer.model.lexicon.idf, expected.idf)
    assert not expected.idf[tokenizer.all_special_ids].any()
    assert trainer.model.config.training_data["is_painted_miniature"] is False
    (group,) = [group for group in trainer.optimizer.param_groups if group["name"] == "lexicon"]
    assert (group["initial_lr"], group["weight_decay"]) == (0.05, 0.0)
    assert [parameter.shape for parameter in group["params"]] == [trainer.model.lexicon.weight.shape]
    weight, idf = trainer.model.lexicon.weight, trainer.model.lexicon.idf
    assert weight[idf > 0].abs().max() > 0.1
    assert not weight[idf == 0].any()  # no painting asks anything of these


@pytest.mark.parametrize("trainable", [0, 1])
def test_cached_text_takes_the_same_steps(trained, parts, tmp_path, trainable):
    plain = trained[1] if trainable == 1 else losses_of(make_trainer(parts, tmp_path, trainable=0))
    trainer = make_trainer(parts, tmp_path, cached="true", trainable=trainable, workers=1)
    assert trainer.data_collator.frozen_text is not None
    assert len(plain) == 10
    assert losses_of(trainer) == pytest.approx(plain, abs=LOSS_ROUNDING)


def test_the_penalty_is_a_part_of_the_gradient():
    lexicon = Lexicon(6, 3)
    with torch.no_grad():
        lexicon.weight.copy_(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)))
    before = lexicon.weight.detach().clone()
    optimizer = torch.optim.SGD(lexicon.parameters(), lr=0.5)
    add_l2_penalty(lexicon, optimizer, penalty=0.2, num_rows=10)
    lexicon.weight.grad = torch.ones(6, 3)
    optimizer.step()
    wanted = before.clone().requires_grad_(True)
    (wanted.sum() + 0.2 / 10 * wanted.square().sum()).backward()
    assert torch.allclose(lexicon.weight, before - 0.5 * wanted.grad, atol=rounding(4, size=4))
    optimizer.zero_grad()
    optimizer.step()  # nothing is added without a gradient
