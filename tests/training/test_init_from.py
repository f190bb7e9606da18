import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_trainer import STEPS_ALONE, make_trainer, parts_of

from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.loading import Splits
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.recipes.recipe import ModelArguments
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_trainer


@pytest.fixture(scope="module")
def parts(small_release):
    return parts_of(small_release, text_lexicon=True)


@pytest.fixture(scope="module")
def published(parts, tmp_path_factory):
    """A model that has learned for a step, with a calibration."""
    folder = tmp_path_factory.mktemp("published")
    trainer = make_trainer(parts, folder, max_steps=1, eval_strategy="no", save_strategy="no")
    trainer.train()
    trainer.model.config.temperatures = {"type": 2.0, "medium": 1.5}
    trainer.save_model(str(folder / "model"))
    return folder / "model"


def other_rows(splits):
    """Rows of another museum: some of the same types, other schools, and a task of its own."""
    names = splits["train"].features["type"].names
    kept = [*names[:2], "animals"]

    def change(row, index):
        kind = None if row["type"] is None else kept[index % 3]
        return {"kind": kind, "wing": ("north", "south")[index % 2], "school": "Dutch" if index % 2 else "Flemish"}

    changed = splits["train"].map(change, with_indices=True, remove_columns=["type", "school"])
    return changed.rename_column("kind", "type")


def start(published, parts, folder, tasks=("school", "type", "wing"), **fields):
    rows = other_rows(parts[0])
    splits = Splits({"train": rows, "validation": rows})
    lines = []
    model = ModelArguments(**{"init_from": str(published), "trainable_text_layers": None, **fields})
    data = DataArguments(data="museum", tasks=list(tasks), min_label_count=3, max_text_length=16)
    options = {"max_steps": 1, "precision": "fp32", "disable_tqdm": True, "per_device_train_batch_size": 8}
    training = SemArtTrainingArguments(str(folder), **options, **STEPS_ALONE)
    return build_trainer(splits, model, data, training, lines.append), lines


def test_every_tensor_arrives_and_rows_of_heads_by_label(published, parts, tmp_path):
    trainer, lines = start(published, parts, tmp_path)
    model, saved = trainer.model, load_file(published / "model.safetensors")
    before = SemArtForArtClassification.from_pretrained(published)
    assert model.config.task_names == ["school", "type", "wing"]
    assert (model.config.temperatures, before.config.temperatures) == (None, {"type": 2.0, "medium": 1.5})
    state = model.state_dict()
    for name, tensor in saved.items():
        if not name.startswith(("heads.", "lexicon.weight")):
            assert torch.equal(state[name], tensor), name
    old, new = before.config.labels("type"), model.config.labels("type")
    for label in new:
        row = state["heads.head_type.weight"][new.index(label)]
        if label in old:
            assert torch.equal(row, saved["heads.head_type.weight"][old.index(label)]), label
        else:
            assert label == "animals"
            assert state["heads.head_type.bias"][new.index(label)] == 0
    assert "heads.head_wing.weight" in state
    text = "\n".join(lines)
    assert "3 labels from there, 1 new (animals)" in text
    assert "tasks that are dropped: timeframe, medium" in text
    tokenizer, own = trainer.processing_class.tokenizer, SemArtProcessor.from_pretrained(published).tokenizer
    assert (tokenizer.get_vocab(), tokenizer.model_max_length) == (own.get_vocab(), 16)
    trainer.train()
    assert torch.equal(trainer.model.lexicon.idf, saved["lexicon.idf"])
    trainer.save_model(str(tmp_path / "again"))
    assert SemArtForArtClassification.from_pretrained(tmp_path / "again").config.tasks == model.config.tasks


def test_the_same_tasks_give_the_same_answers_and_another_image_size_is_adapted(published, parts, tmp_path):
    before = SemArtForArtClassification.from_pretrained(published).eval()
    after = SemArtForArtClassification.from_checkpoint(published, before.config.tasks).eval()
    pixels, tokens = torch.randn(2, 3, 64, 64), torch.randint(5, 50, (2, 12))
    with torch.no_grad():
        one, two = (model(pixel_values=pixels, input_ids=tokens).logits for model in (before, after))
    assert all(torch.equal(one[name], two[name]) for name in one)
    trainer, _ = start(published, parts, tmp_path, image_size=96)
    assert trainer.processing_class.image_processor.crop_size["height"] == 96
    assert trainer.model.config.vision_config.pretrained_cfg["input_size"] == [3, 96, 96]
    trainer.train()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vision": "resnet18"}, "init_from: .* and vision, which the model there brings"),
        ({"text": None, "fusion_dim": 8}, "and text, fusion_dim, which"),
        ({"frozen_vision_stages": 99}, "frozen_vision_stages is 99"),
        ({"init_from": "nowhere"}, "init_from is nowhere, from which no model was loaded"),
    ],
)
def test_what_the_model_cannot_do_is_refused(published, parts, tmp_path, fields, message):
    with pytest.raises((ValueError, OSError), match=message):
        start(published, parts, tmp_path, **fields)


def test_a_tensor_that_does_not_arrive_and_what_is_no_model_are_noticed(published, tmp_path):
    tasks = SemArtForArtClassification.config_class.from_pretrained(published).tasks
    folder = shutil.copytree(published, tmp_path / "broken")
    for absent in ("fusion.weight", "heads.head_type.weight"):  # of type, though no wanted task reads it
        tensors = load_file(published / "model.safetensors")
        del tensors[absent]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=rf"1 are not in its .* 0 differ \(first: '{absent}'\)"):
            SemArtForArtClassification.from_checkpoint(folder, tasks[1:])
    whole = (published / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="are damaged"):
        SemArtForArtClassification.from_checkpoint(folder, tasks)
    (folder / "config.json").write_text('{"model_type": "distilbert"}')
    with pytest.raises(ValueError, match="of the model type 'distilbert'"):
        SemArtForArtClassification.from_checkpoint(folder, tasks)
