import pytest
import torch
from small_trainer import STEPS_ALONE, make_trainer
from transformers import TrainerCallback

from semart_hf.cli.train import raise_with_advice
from semart_hf.training.callbacks import DivergenceWatch
from semart_hf.training.trainer import SemArtTrainer


def test_a_diverging_run_stops_and_keeps_its_last_good_checkpoint(parts, tmp_path):
    class Breaker(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 6:
                with torch.no_grad():
                    model.heads["head_type"].weight[0, 0] = float("nan")

    options = {**STEPS_ALONE, "save_strategy": "steps", "save_steps": 2, "logging_steps": 100}
    trainer = make_trainer(parts, tmp_path, callbacks=[Breaker()], **options)
    with pytest.raises(ValueError, match=r"diverged at step 7: the loss is nan.*rows of the training.*\[\d") as e:
        trainer.train()
    assert "Lower learning_rate" in str(e.value)
    checkpoints = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert checkpoints == ["checkpoint-4", "checkpoint-6"]
    kept = type(trainer.model).from_pretrained(tmp_path / "checkpoint-4")
    assert all(torch.isfinite(parameter).all() for parameter in kept.parameters())


def test_the_watch_names_the_rows_of_the_step():
    watch = DivergenceWatch()
    watch.add_batch(torch.tensor(1.0), torch.tensor([5, 3]))
    watch.end_step(1, torch.tensor(2.0))
    watch.add_batch(torch.tensor(1.0), torch.tensor([9]))
    watch.add_batch(torch.tensor(2.0), torch.tensor([4, -1]))
    watch.end_step(2, torch.tensor(float("inf")))
    with pytest.raises(ValueError, match=r"step 2: the gradient norm is inf\. .* \[4, 9\]\. Lower"):
        watch.check()


def test_full_memory_is_explained(parts, tmp_path):
    arguments = make_trainer(parts, tmp_path).args
    message = r"per_device_train_batch_size 8 \(.*memory.*train_batch_size: 4 with gradient_accumulation_steps: 2"
    for words in ("CUDA out of memory. Tried to allocate 2 GiB", "DefaultCPUAllocator: can't allocate memory"):
        with pytest.raises(ValueError, match=message):
            raise_with_advice(torch.OutOfMemoryError(words), arguments)
    with pytest.raises(RuntimeError, match="shapes"):
        raise_with_advice(RuntimeError("shapes"), arguments)


def test_the_batch_size_that_fits_is_found(parts, tmp_path, monkeypatch):
    trainer = make_trainer(parts, tmp_path, auto_find_batch_size=True, num_train_epochs=1)
    step = SemArtTrainer.compute_loss

    def limited(self, model, inputs, *args, **kwargs):
        if model.training and len(inputs["labels"]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(SemArtTrainer, "compute_loss", limited)
    trainer.train()
    assert trainer.state.train_batch_size <= 6
    assert trainer.state.global_step == -(-32 // trainer.state.train_batch_size)
