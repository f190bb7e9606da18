import json

import pytest
import stream_processes
import torch
from release_builder import prepare_stream
from stream_processes import stream_trainer
from warm_python import run_python

NUM_ROWS = 46


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """46 rows in shards of 8 and groups of 6 and 2."""
    return prepare_stream(tmp_path_factory.mktemp("streaming"), NUM_ROWS, image_size=32, rows_per_shard=8)


def rows_of(seen):
    return [[index for _, _, index in batch] for batch in seen]


def test_two_processes_see_every_row_at_most_once_an_epoch(prepared, tmp_path):
    run_python(stream_processes.__file__, prepared, tmp_path, 2, 2, logs=tmp_path, num_processes=2)
    answers = [json.loads((tmp_path / f"seen-{process}.json").read_text()) for process in range(2)]
    for answer in answers:
        assert answer["steps"] == 2 * 6  # 23 rows by 4
        assert answer["epoch"] == 2
        assert answer["rows"] == pytest.approx(2 * NUM_ROWS, abs=1)
    by_epoch = []
    for epoch in range(2):
        draws = [draw for answer in answers for batch in answer["seen"] for draw in batch if draw[1] == epoch]
        rows = [index for _, _, index in draws]
        assert len(rows) == len(set(rows)) == 2 * (NUM_ROWS // 2)
        by_epoch.append(rows)
    assert by_epoch[0] != by_epoch[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_resumed_within_an_epoch_ends_with_the_same_weights(prepared, tmp_path, num_workers):
    options = {"dataloader_num_workers": num_workers, "save_strategy": "steps", "save_steps": 8, "learning_rate": 1e-2}
    whole = stream_trainer(prepared, tmp_path / "whole", **options)
    whole.train()
    resumed = stream_trainer(prepared, tmp_path / "resumed", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-16"))
    assert whole.state.global_step == resumed.state.global_step == 24
    assert rows_of(resumed.seen) == rows_of(whole.seen)[16:]
    expected = whole.model.state_dict()
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_an_epoch_has_the_stated_length_under_accumulation(prepared, tmp_path):
    trainer = stream_trainer(prepared, tmp_path, gradient_accumulation_steps=3, num_train_epochs=3)
    trainer.train_dataset.epoch_length = 26
    with pytest.raises(TypeError, match="Got a PaintingStream, whose rows are mixed and varied as in training"):
        trainer.evaluate(trainer.train_dataset)
    trainer.train()
    assert [len(batch) for batch in rows_of(trainer.seen)] == 3 * [4, 4, 4, 4, 4, 4, 2]
    assert trainer.state.global_step == 9
    assert trainer.state.epoch == 3
