import json
import multiprocessing

import pytest
import torch
from torch import nn

from semart_hf.evaluation import cost
from semart_hf.evaluation.cost import complete_paintings, count_flops, measure_inference, peak_memory, steady_speed


class Network(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, pixel_values):
        return self.layers(pixel_values)


class Attention(nn.Module):
    def forward(self, hidden):
        heads = hidden.view(len(hidden), 2, 5, 8)
        return nn.functional.scaled_dot_product_attention(heads, heads, heads)


@pytest.mark.parametrize(
    ("layers", "shape", "operations"),
    [
        ([nn.Linear(10, 6), nn.Linear(6, 3)], (10,), 2 * 10 * 6 + 2 * 6 * 3),
        ([nn.Conv2d(4, 6, 3, padding=1)], (4, 8, 8), 2 * 3 * 3 * 4 * 6 * 8 * 8),
        ([nn.Conv2d(4, 6, 3, padding=1, stride=2)], (4, 8, 8), 2 * 3 * 3 * 4 * 6 * 4 * 4),
        # Depthwise: each output channel reads one input channel.
        ([nn.Conv2d(4, 4, 3, padding=1, groups=4)], (4, 8, 8), 2 * 3 * 3 * 1 * 4 * 8 * 8),
        ([nn.Conv2d(4, 6, 5, padding=2, groups=2)], (4, 8, 8), 2 * 5 * 5 * 2 * 6 * 8 * 8),
        # Two products of a 5 x 5 table for each of 2 heads of 8.
        ([Attention()], (80,), 2 * 2 * 2 * 5 * 5 * 8),
    ],
    ids=["linear", "plain", "strided", "depthwise", "grouped", "attention"],
)
def test_operations(layers, shape, operations):
    counted = count_flops(Network(*layers), {"pixel_values": torch.randn(4, *shape)})
    assert counted == {"flops_forward": operations, "text_tokens": 0}


def test_the_fastest_batch_is_found_and_a_full_memory_ends_the_search(monkeypatch):
    milliseconds = {1: 100, 4: 200, 16: 1000}

    def fake_seconds(model, batch):
        if len(batch["pixel_values"]) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return milliseconds[len(batch["pixel_values"])] / 1000

    monkeypatch.setattr(cost, "forward_seconds", fake_seconds)
    measured = measure_inference(nn.Linear(1, 1), lambda size: {"pixel_values": torch.zeros(size, 1)})
    assert measured["milliseconds_per_painting"] == 100
    assert (measured["best_batch_size"], measured["paintings_per_second_best"]) == (4, 20)


def peaks(num_bytes):
    before, held = peak_memory(torch.device("cpu")), b"x" * num_bytes
    return before, peak_memory(torch.device("cpu")), len(held)


def test_peak_memory_grows_with_what_is_held():
    # In a process of its own: one that held more before has its peak behind it.
    with multiprocessing.get_context("fork").Pool(1) as pool:
        before, after, held = pool.apply(peaks, [240_000_000])
    assert held <= after - before < 1.5 * held
    assert 50e6 < before < 5e9


def test_everything_in_one_file_of_complete_rows(tiny_model, tiny_model_folder, paintings, tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "load_split", lambda *_, **options: paintings)
    monkeypatch.setattr(cost, "BATCH_SIZES", (1, 2))
    monkeypatch.setattr(cost, "SECONDS_PER_BATCH_SIZE", 0.01)
    words = ["--model", tiny_model_folder, "--data", "d", "--output", tmp_path / "c.json"]
    cost.main(list(map(str, words)))
    measured = json.loads((tmp_path / "c.json").read_text())
    assert measured["flops_forward"] > 1e5
    assert measured["text_tokens"] > 2
    assert measured["parameters"] == sum(value.numel() for value in tiny_model.parameters())
    trained = [value for value in tiny_model.parameters() if value.requires_grad]
    assert measured["trained_parameters"] == sum(value.numel() for value in trained) < measured["parameters"]
    assert measured["weights_bytes"] == (tiny_model_folder / "model.safetensors").stat().st_size
    assert [int(row["image_file"][:5]) for row in complete_paintings(paintings, 5)] == [0, 1, 2, 4, 6]
    without = paintings.remove_columns("text").add_column("text", [None] * 10)
    assert len(complete_paintings(without, 4)) == 4


def test_the_speed_of_a_run_forgets_what_happens_once():
    speeds = (12.0, 64.0, 66.0, 65.0, 3.0, 500.0, 65.0)
    log = [{"step": at, "loss": 1.0, "rows_per_second": speed} for at, speed in enumerate(speeds)]
    log.insert(3, {"step": 3, "eval_loss": 1.0, "eval_runtime": 5.0})
    assert steady_speed(log) == 65.0
    assert steady_speed([{"step": 2, "train_runtime": 3.0}]) is None
