import json

import prove
import pytest
from proofs import runner
from transformers import DistilBertConfig, DistilBertModel, TimmWrapperConfig, TimmWrapperModel

from semart_hf.data.training_texts import learn_tokenizer


@pytest.fixture
def main(tmp_path, monkeypatch):
    """`prove.main` with brief runs in this process, where all is imported, and what it wrote."""

    def main(part, *words):
        prove.main([part, *map(str, words)])
        return json.loads((tmp_path / f"{part}.json").read_text()), next(tmp_path.glob("*.md")).read_text()

    brief = {"max_steps": 1, "per_device_train_batch_size": 4, "image_size": 32, "text_cache_dir": str(tmp_path / "c")}
    monkeypatch.setattr(runner, "IN_PROCESS", runner.IN_PROCESS | brief)
    monkeypatch.setattr(runner, "run_apart", lambda run_one, task, processes: runner.run_here(run_one, task))
    for name in ("RESULTS", "CARDS"):
        monkeypatch.setattr(prove, name, tmp_path)
    return main


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Folders of a timm tower and of a DistilBERT, tiny and from scratch, as words of a command."""
    vision, text = (tmp_path_factory.mktemp("towers") / name for name in ("vision", "text"))
    tokenizer = learn_tokenizer(["an artist painted an episode from Ovid in the 1630s"] * 3, vocab_size=100)
    config = DistilBertConfig(vocab_size=len(tokenizer), dim=32, n_layers=2, n_heads=4, hidden_dim=64, pad_token_id=0)
    DistilBertModel(config).save_pretrained(text)
    tokenizer.save_pretrained(text)
    cfg = {"input_size": [3, 32, 32]}
    tower = TimmWrapperConfig(architecture="test_efficientnet", pretrained_cfg=cfg, num_labels=0)
    TimmWrapperModel(tower).save_pretrained(vision)
    return {"vision": str(vision), "text": str(text)}
