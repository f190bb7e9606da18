import os
import pickle
import re
import shutil
from collections import namedtuple
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from release_builder import prepare_stream
from rounding import rounding
from safetensors.torch import load_file, save_file
from small_trainer import DRY_TEXT, make_model, parts_of

from semart_hf.data import training_texts as module
from semart_hf.data.collator import ArtCollator
from semart_hf.data.data_arguments import DataArguments
from semart_hf.data.streaming import PaintingStream
from semart_hf.data.training_texts import FrozenText, FrozenTextWriter, digest_of, expected_reads, frozen_text
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.building import build_processor

SENTENCE = "a view of delft with the old river and an older bridge at night under the evening light"
WORDS = SENTENCE.split()


def texts_of(number):
    return [" ".join(WORDS[(row + place * (row % 5 + 1)) % 17] for place in range(1 + row * 7 % 40)) + f" {row}"
            for row in range(number)]  # fmt: skip


@pytest.fixture(scope="module")
def parts(small_release):
    return parts_of(small_release, text_args={**DRY_TEXT, "n_layers": 3}, image_size=32, fusion_dropout=0.0)


@pytest.fixture
def built(parts):
    """A model of three text layers, of which one learns, and its processor."""
    model = make_model(parts)
    return model, build_processor(model, parts[3])


def writer_of(root, model, processor, texts, *, depth=1, storage="fp32", use_bf16=False):
    column = pa.chunked_array([texts], pa.string())
    return FrozenTextWriter(root, model, processor, column, depth=depth, storage=storage, use_bf16=use_bf16)


def written(root, model, processor, texts, *, depth=1, storage="fp32", **share):
    writer = writer_of(root, model, processor, texts, depth=depth, storage=storage)
    writer.write(**share)
    return FrozenText(writer.folder, depth)


def rows_of(texts):
    return [{"image": None, "text": text, "type": row % 3} for row, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("trainable", "pooling", "storage"),
    [(1, "first", "fp32"), (0, "mean", "fp32"), (0, "first", "fp16"), (1, "mean", "bf16")],
)
def test_losses_and_gradients_are_those_of_the_whole_text_tower(parts, tmp_path, trainable, pooling, storage):
    # Forward and backward of 18 sums with at most 64 terms, over what was rounded once to be stored.
    tolerance = rounding(64, layers=2 * 18) + rounding(1, dtype=module.STORAGE_TYPES[storage])
    model = make_model(parts, trainable_text_layers=trainable, text_pooling=pooling)
    processor = build_processor(model, parts[3])
    texts = texts_of(30)
    kept = written(tmp_path, model, processor, [*texts, *texts, None, " "], depth=3 - trainable, storage=storage)
    assert len(kept._paths) == 30
    shown = rows_of([*texts[7:20], None, texts[3], texts[29]])
    model.train()
    expected = model(**ArtCollator(processor, parts[1])(shown))
    expected.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    inputs = ArtCollator(processor, parts[1], frozen_text=kept)(shown)
    assert "input_ids" not in inputs
    assert inputs["text_depth"] == 3 - trainable
    found = model(**inputs)
    found.loss.backward()
    assert torch.allclose(found.loss, expected.loss, atol=tolerance)
    assert torch.allclose(found.logits["type"], expected.logits["type"], atol=tolerance)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, gradients[name], atol=tolerance), name


def test_a_cut_text_is_kept_as_it_is_read_and_what_cannot_be_stored_refused(parts, built, tmp_path):
    long = " ".join(WORDS * 6)
    kept = written(tmp_path, *built, [long, "a bridge"])
    batch = kept.batch([long, None, "a bridge"])
    assert batch["text_hidden"].shape == (3, 32, 32)
    assert batch["attention_mask"].sum(1).tolist() == [32, 0, len(built[1].tokenizer("a bridge")["input_ids"])]
    assert batch["has_text"].tolist() == [True, False, True]
    batch = ArtCollator(built[1], parts[1], frozen_text=kept)(rows_of([long, "a new text"]))
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    model, processor = built
    with torch.no_grad():
        model.text_tower.transformer.layer[0].output_layer_norm.weight.fill_(1e6)
    with pytest.raises(ValueError, match=r"cannot be stored as fp16.*text_cache_dtype: bf16"):
        written(tmp_path, model, processor, texts_of(3), storage="fp16")
    assert len(written(tmp_path, model, processor, texts_of(3), storage="bf16")._paths) == 3


def test_other_weights_tokens_depth_and_storage_have_their_own_place(built, tmp_path):
    model, processor = built

    def place(texts=3, **options):
        return writer_of(tmp_path, model, processor, texts_of(texts), **options).folder

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


def test_what_is_there_is_not_computed_again_and_processes_share_the_rest(parts, built, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FILE_BYTES", 4096)
    monkeypatch.setattr(module, "BATCH_TOKENS_ON_CPU", 100)
    model, processor = built
    shapes = []
    encode = model.encode_frozen_text
    monkeypatch.setattr(model, "encode_frozen_text", lambda ids, *a: shapes.append(ids.shape) or encode(ids, *a))
    whole = written(tmp_path / "whole", model, processor, texts_of(60))
    assert sum(rows for rows, _ in shapes) == len(whole._paths) == 60
    assert all(rows * width <= 100 for rows, width in shapes)
    assert [width for _, width in shapes] == sorted(width for _, width in shapes)  # padded as little as alone
    files = sorted(whole.folder.glob("*.safetensors"))
    assert len(files) > 10
    assert all(sum(states.nbytes for states in load_file(path).values()) <= 4096 + 32 * 32 * 4 for path in files)
    times = {path: path.stat().st_mtime_ns for path in files}
    files[3].rename(whole.folder / ".3.unfinished")  # as a process leaves it that is killed while it writes
    written(tmp_path / "whole", model, processor, texts_of(60))
    assert [path for path in files if path.stat().st_mtime_ns != times[path]] == [files[3]]
    root, shares = tmp_path / "shared", [{"process_index": index, "num_processes": 2} for index in range(2)]
    parts = [written(root, model, processor, texts_of(60), **share) for share in shares]
    assert 20 < len(parts[0]._paths) < 40
    assert len(parts[1]._paths) == 60
    for path in files:
        one, same = load_file(path), load_file(parts[1].folder / path.name)
        assert one.keys() == same.keys()
        assert all(torch.allclose(one[name], same[name], atol=rounding(64, layers=6, size=4)) for name in one)


def test_workers_get_the_name_of_the_folder_and_a_damaged_file_is_named(built, tmp_path):
    kept = written(tmp_path, *built, texts_of(50))
    expected = kept.batch(texts_of(9))
    pickled = pickle.dumps(kept)
    assert len(pickled) < 500
    found = pickle.loads(pickled).batch(texts_of(9))  # noqa: S301
    assert torch.equal(expected["text_hidden"], found["text_hidden"])
    (file,) = kept.folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match=rf"{file.name} of the cache of frozen text is damaged.*Delete it"):
        FrozenText(kept.folder, 1)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not tell what is mapped")
def test_what_was_read_does_not_stay_in_memory(tmp_path, monkeypatch):
    texts = [f"text {number}" for number in range(64)]
    hidden = torch.randn(64, 512, 512).half()
    save_file(dict(zip(map(digest_of, texts), hidden, strict=True)), tmp_path / "0.safetensors")
    monkeypatch.setattr(module, "_MAPPED_BYTES", 2**22)
    kept = FrozenText(tmp_path, depth=1)

    def mapped_megabytes():
        return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024

    before, most = mapped_megabytes(), 0.0
    for first in range(0, 64, 4):
        assert torch.equal(kept.batch(texts[first : first + 4])["text_hidden"], hidden[first : first + 4])
        most = max(most, mapped_megabytes() - before)
    assert hidden.nbytes == 2**25
    assert most < 16  # megabytes, of 32 that were read


@pytest.fixture
def choose(parts, tmp_path):
    """What a run of that many epochs is to read from, and what is logged about it."""

    def choose(epochs=2, model=None, splits=parts[0], **fields):
        model = make_model(parts) if model is None else model
        folders = {"output_dir": str(tmp_path / "run"), "report_to": "none", "disable_tqdm": True}
        training = SemArtTrainingArguments(**folders, num_train_epochs=epochs, per_device_train_batch_size=16)
        data = DataArguments(data="-", text_cache_dir=str(tmp_path / "cache"), **fields)
        return frozen_text(model, build_processor(model, parts[3]), splits, data, training)

    return choose


def test_auto_takes_a_cache_where_texts_are_read_often_and_nothing_learns(parts, choose, tmp_path):
    assert "too few for a cache" in choose(1)[1]
    stream = PaintingStream(prepare_stream(tmp_path, 40, image_size=16, rows_per_shard=20), epoch_length=10)
    assert "is read 1.2 times" in choose(5, splits={"train": stream}, streaming=True, epoch_length=10)[1]
    kept, remark = choose(10)
    assert kept.depth == 2
    num_texts = len({text for split in ("train", "validation") for text in parts[0][split]["text"] if text})
    assert f"{num_texts} distinct texts through 2 frozen layers, kept in" in remark
    assert "read from" in choose(1)[1]
    off = "Frozen text: computed in every batch (cache_frozen_text: false)"
    assert choose(10, cache_frozen_text="false") == (None, off)
    model = make_model(parts, trainable_text_layers=None)
    assert choose(model=model) == (None, "Frozen text: none, all text layers learn")
    with pytest.raises(ValueError, match="is true, but there is no frozen text: none, all text layers learn"):
        choose(model=model, cache_frozen_text="true")


def test_a_full_disk_costs_time_and_not_the_run(choose, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9e9, 7e9, 2.1e9))
    kept, remark = choose()
    assert kept is None
    assert (
        "could not be written: Got 2.1 GB free on its disk, but it needs 0.1 MB beside 2.1 GB that are left" in remark
    )
    monkeypatch.undo()

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "save_file", fail)
    kept, remark = choose()
    assert kept is None
    assert "could not be written: No space left on device" in remark


def test_the_number_of_reads_counts_epochs_and_dropout(tmp_path):
    data = DataArguments(data="-", text_dropout=0.25)
    training = SemArtTrainingArguments(str(tmp_path), num_train_epochs=4, per_device_train_batch_size=16)
    assert expected_reads(100, data, training) == pytest.approx(4 * 0.75)
    training.max_steps = 25
    assert expected_reads(100, data, training) == pytest.approx(25 * 16 / 100 * 0.75)
