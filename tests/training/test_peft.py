import pytest
import torch
from small_trainer import make_model, make_trainer

peft = pytest.importorskip("peft")

HEADS = ["head_type", "head_school", "head_timeframe", "head_medium"]
CONFIG = {"r": 4, "lora_alpha": 8, "target_modules": ["q_lin", "v_lin"], "modules_to_save": HEADS}


def logits_of(model, inputs):
    with torch.no_grad():
        return torch.cat(list(model(**inputs).logits.values()), dim=1)


def test_the_trainer_moves_adapters_and_heads_alone_and_adapters_are_saved_loaded_and_merged(parts, tmp_path):
    torch.manual_seed(1)
    model = peft.get_peft_model(make_model(parts), peft.LoraConfig(**CONFIG))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = make_trainer(parts, tmp_path / "run", model, max_steps=4, eval_strategy="no", save_strategy="no")
    trainer.train()
    model.eval()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    last = {name for name in before if "lora_B" in name and "layer.1." in name}
    assert len(last) == 2  # of q and v in the layer that learns, which is called and not read
    assert last <= moved
    assert all("lora_" in name or "modules_to_save" in name for name in moved)  # no statistics, which are not saved
    assert {f"head_{name.split('head_')[1].split('.')[0]}" for name in moved if "head_" in name} == {*HEADS}
    inputs = trainer.data_collator([trainer.eval_dataset[row] for row in range(4)])
    del inputs["labels"]
    expected = logits_of(model, inputs)
    model.save_pretrained(tmp_path / "adapter")
    loaded = peft.PeftModel.from_pretrained(make_model(parts), tmp_path / "adapter").eval()
    torch.testing.assert_close(logits_of(loaded, inputs), expected, rtol=0, atol=0)
    merged = loaded.merge_and_unload().eval()
    torch.testing.assert_close(logits_of(merged, inputs), expected, rtol=1e-5, atol=1e-5)
    merged.save_pretrained(tmp_path / "merged")
    again = type(merged).from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(logits_of(again, inputs), logits_of(merged, inputs), rtol=0, atol=0)
