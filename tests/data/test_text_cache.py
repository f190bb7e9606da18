"""Hidden states read from disk equal those that are computed; killed, shared and damaged caches."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import timm
import torch
from rounding import rounding
from safetensors.torch import load_file, save_file
from transformers import DistilBertConfig

from semart_hf.data import text_cache
from semart_hf.data.collator import ArtCollator
from semart_hf.data.text_cache import FrozenText, cache_folder, compute_frozen_text, digest_of, texts_to_keep
from semart_hf.data.tokenizer import learn_tokenizer
from semart_hf.model.image_processing_semart import SemArtImageProcessor
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor

TASKS = [{"name": "type", "labels": ["a", "b", "UNK"]}]
SENTENCE = "a view of delft with the old river and an older bridge at night under the evening light"
WORDS = SENTENCE.split()


def texts_of(number):
    """Distinct texts of 1 to 40 words."""
    return [" ".join(WORDS[(row + place * (row % 5 + 1)) % 17] for place in range(1 + row * 7 % 40)) + f" {row}"
            for row in range(number)]  # fmt: skip


def build(trainable=1, pooling="first", seed=0):
    torch.manual_seed(seed)
    tokenizer = learn_tokenizer(texts_of(80), max_length=32)
    text = DistilBertConfig(
        dim=32, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=len(tokenizer), dropout=0.0, attention_dropout=0.0
    )
    model = SemArtForArtClassification.from_towers(
        "test_resnet",
        text,
        TASKS,
        pretrained=False,
        image_size=32,
        fusion_dim=16,
        fusion_dropout=0.0,
        trainable_text_layers=trainable,
        text_pooling=pooling,
    )
    image_processor = SemArtImageProcessor.from_timm(timm.get_pretrained_cfg("test_resnet").to_dict(), 32)
    return model, SemArtProcessor(image_processor, tokenizer)


def wanted_of(model, processor, texts, *, depth=1, storage="fp32"):
    return texts_to_keep(model, processor, pa.chunked_array([texts], pa.string()), depth=depth, storage=storage)


def compute(root, model, processor, texts, *, depth=1, storage="fp32", **share):
    wanted = wanted_of(model, processor, texts, depth=depth, storage=storage)
    folder = cache_folder(root, model, processor, wanted, use_bf16=False)
    compute_frozen_text(model, processor, wanted, folder, **share)
    return FrozenText(folder, depth)


def rows_of(texts):
    return [{"image": None, "text": text, "type": row % 3} for row, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("storage", "dtype"), [("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("trainable", [0, 1])
def test_losses_and_gradients_are_those_of_the_whole_text_tower(tmp_path, trainable, pooling, storage, dtype):
    # Forward and backward of 12 sums with at most 64 terms, over what was rounded once to be stored.
    tolerance = rounding(64, layers=2 * 12) + rounding(1, dtype=dtype)
    model, processor = build(trainable, pooling)
    texts = texts_of(30)
    kept = compute(tmp_path, model, processor, [*texts, *texts, None, " "], depth=2 - trainable, storage=storage)
    assert len(kept) == 30
    plain, reading = (ArtCollator(processor, TASKS, frozen_text=cache) for cache in (None, kept))
    shown = [*texts[7:20], None, texts[3], texts[29]]
    model.train()
    expected = model(**plain(rows_of(shown)))
    expected.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    inputs = reading(rows_of(shown))
    assert "input_ids" not in inputs
    assert inputs["text_depth"] == 2 - trainable
    found = model(**inputs)
    found.loss.backward()
    assert torch.allclose(found.loss, expected.loss, atol=tolerance)
    assert torch.allclose(found.logits["type"], expected.logits["type"], atol=tolerance)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, gradients[name], atol=tolerance), name


def test_a_cut_text_is_kept_as_it_is_read(tmp_path):
    model, processor = build()
    long = " ".join(WORDS * 6)
    kept = compute(tmp_path, model, processor, [long, "a bridge"])
    batch = kept.batch([long, None, "a bridge"])
    assert batch["text_hidden"].shape == (3, 32, 32)
    assert batch["attention_mask"].sum(1).tolist() == [32, 0, 4]
    assert batch["has_text"].tolist() == [True, False, True]
    assert batch["attention_mask"].shape[1] % 8 == 0


def test_a_batch_with_a_text_that_is_not_kept_is_tokenised(tmp_path):
    model, processor = build()
    kept = compute(tmp_path, model, processor, texts_of(5))
    batch = ArtCollator(processor, TASKS, frozen_text=kept)(rows_of([texts_of(5)[0], "a new text"]))
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    with pytest.raises(KeyError, match="'a new text' is not in"):
        kept.batch(["a new text"])


def test_other_weights_tokens_depth_and_storage_have_their_own_place(tmp_path):
    model, processor = build()

    def place(texts=3, use_bf16=False, **options):
        wanted = wanted_of(model, processor, texts_of(texts), **options)
        return cache_folder(tmp_path, model, processor, wanted, use_bf16=use_bf16)

    folder = place()
    others = [place(4), place(depth=2), place(storage="fp16"), place(storage="fp16", use_bf16=True)]
    assert place() == folder
    with torch.no_grad():
        model.text_tower.transformer.layer[1].ffn.lin1.weight.add_(1.0)  # it learns: no part of what is kept
    assert place() == folder
    processor.tokenizer.model_max_length = 16
    others.append(place())
    with torch.no_grad():
        model.text_tower.transformer.layer[0].ffn.lin1.weight[0, 0] += 1e-3
    others.append(place())
    assert len({folder, *others}) == 7


def test_what_is_there_is_not_computed_again_and_processes_share_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(text_cache, "CHUNK_BYTES", 4096)
    model, processor = build()
    counts = []
    encode = model.encode_frozen_text
    monkeypatch.setattr(model, "encode_frozen_text", lambda ids, *a: counts.append(len(ids)) or encode(ids, *a))
    whole = compute(tmp_path / "whole", model, processor, texts_of(60))
    assert sum(counts) == len(whole) == 60
    chunks = sorted(whole.folder.glob("*.safetensors"))
    assert len(chunks) > 10
    assert all(sum(load_file(path)["lengths"]) * 32 * 4 <= 4096 + 32 * 32 * 4 for path in chunks)
    times = {path: path.stat().st_mtime_ns for path in chunks}
    chunks[3].rename(whole.folder / ".3.unfinished")  # as a process leaves it that is killed while it writes
    compute(tmp_path / "whole", model, processor, texts_of(60))
    assert [path for path in chunks if path.stat().st_mtime_ns != times[path]] == [chunks[3]]
    parts = [
        compute(tmp_path / "shared", model, processor, texts_of(60), process_index=index, num_processes=2)
        for index in range(2)
    ]
    assert 20 < len(parts[0]) < 40
    assert parts[1].knows(texts_of(60))
    for path in chunks:
        one, same = load_file(path), load_file(parts[1].folder / path.name)
        assert torch.equal(one["digests"], same["digests"])
        assert torch.allclose(one["hidden"], same["hidden"], atol=rounding(64, layers=6, size=4))


def test_workers_get_the_name_of_the_folder(tmp_path):
    model, processor = build()
    kept = compute(tmp_path, model, processor, texts_of(50))
    kept.batch(texts_of(50))
    pickled = pickle.dumps(kept)
    assert len(pickled) < 500
    expected, found = kept.batch(texts_of(9)), pickle.loads(pickled).batch(texts_of(9))  # noqa: S301
    assert torch.equal(expected["text_hidden"], found["text_hidden"])


def test_a_damaged_file_is_named(tmp_path):
    model, processor = build()
    kept = compute(tmp_path, model, processor, texts_of(3))
    (chunk,) = kept.folder.glob("*.safetensors")
    chunk.write_bytes(chunk.read_bytes()[:-5])
    with pytest.raises(ValueError, match=rf"{chunk.name} of the cache of frozen text is damaged.*Delete it"):
        FrozenText(kept.folder, 1)


def test_values_that_the_storage_type_cannot_hold_are_refused(tmp_path):
    model, processor = build()
    with torch.no_grad():
        model.text_tower.transformer.layer[0].output_layer_norm.weight.fill_(1e6)
    with pytest.raises(ValueError, match=r"cannot be stored as fp16.*text_cache_dtype: bf16"):
        compute(tmp_path, model, processor, texts_of(3), storage="fp16")
    assert compute(tmp_path, model, processor, texts_of(3), storage="bf16").knows(texts_of(3))


def test_an_unknown_storage_type_is_refused():
    model, processor = build()
    with pytest.raises(ValueError, match=r"Got the storage type 'int4'.*Allowed are \['fp32', 'bf16', 'fp16'\]"):
        wanted_of(model, processor, ["a"], storage="int4")


def test_batches_hold_a_bounded_number_of_tokens():
    model, processor = build()
    wanted = wanted_of(model, processor, texts_of(60))
    assert wanted.num_tokens.tolist() == sorted(wanted.num_tokens.tolist())
    batches = list(text_cache._batches(range(60), wanted, 100))
    assert [place for batch in batches for place in batch] == list(range(60))
    widths = [{-(-wanted.num_tokens[place] // 8) * 8 for place in batch} for batch in batches]
    assert all(len(width) == 1 for width in widths)  # and so no text is padded further than alone
    assert all(len(batch) * min(width) <= 100 for batch, width in zip(batches, widths, strict=True))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not tell what is mapped")
def test_what_was_read_does_not_stay_in_memory(tmp_path, monkeypatch):
    texts, tokens = [f"text {number}" for number in range(64)], 512
    hidden = torch.randn(64 * tokens, 512).half()
    digests = np.array([digest_of(text) for text in texts])
    lengths = torch.full((64,), tokens)
    save_file({"hidden": hidden, "digests": torch.from_numpy(digests), "lengths": lengths}, tmp_path / "0.safetensors")
    monkeypatch.setattr(text_cache, "_MAPPED_BYTES", 2**22)
    kept = FrozenText(tmp_path, depth=1)

    def mapped_megabytes():
        return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024

    before = mapped_megabytes()
    most = 0.0
    for first in range(0, 64, 4):
        found = kept.batch(texts[first : first + 4])
        assert torch.equal(found["text_hidden"].flatten(0, 1), hidden[first * tokens : (first + 4) * tokens])
        most = max(most, mapped_megabytes() - before)
    assert hidden.nbytes == 2**25
    assert most < 16  # megabytes, of 32 that were read
