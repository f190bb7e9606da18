"""What a model costs: operations against a count by hand, parameters, sizes, and the search for the best batch."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn
from transformers import DistilBertConfig
from transformers.utils import ModelOutput

from semart_hf.evaluation import cost
from semart_hf.evaluation.cost import (
    best_batch_size,
    complete_paintings,
    count_flops,
    count_parameters,
    measure_inference,
    size_on_disk,
)
from semart_hf.model.modeling_semart import SemArtForArtClassification


class Network(nn.Module):
    """A model whose operations can be counted by hand."""

    def __init__(self, *layers, vision_tower=None):
        super().__init__()
        self.vision_tower = vision_tower or nn.Identity()
        self.layers = nn.Sequential(*layers)

    def forward(self, pixel_values, labels):
        outputs = self.layers(self.vision_tower(pixel_values).flatten(1))
        return ModelOutput(loss=outputs.sum() + 0 * labels.sum())


def flops_of(network, *shape, rows=4):
    return count_flops(network, {"pixel_values": torch.randn(rows, *shape), "labels": torch.zeros(rows)})


def test_linear_layers():
    # Forward 2·10·6 + 2·6·3. Backward: both weights' gradients, and the gradient of the hidden layer, but none of
    # the inputs.
    counted = flops_of(Network(nn.Linear(10, 6), nn.Linear(6, 3)), 10)
    assert counted == {"forward": 156, "forward_vision": 0, "backward": 156 + 36, "tokens": 0}


def test_frozen_layers_cost_nothing_on_the_way_back():
    network = Network(nn.Linear(10, 6), nn.Linear(6, 3))
    network.layers[0].requires_grad_(False)
    assert flops_of(network, 10)["forward"] == 156
    assert flops_of(network, 10)["backward"] == 36


@pytest.mark.parametrize(
    ("convolution", "forward"),
    [
        (nn.Conv2d(4, 6, 3, padding=1), 2 * 3 * 3 * 4 * 6 * 8 * 8),
        (nn.Conv2d(4, 6, 3, padding=1, stride=2), 2 * 3 * 3 * 4 * 6 * 4 * 4),
        # Depthwise: each output channel reads one input channel.
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), 2 * 3 * 3 * 1 * 4 * 8 * 8),
        (nn.Conv2d(4, 6, 5, padding=2, groups=2), 2 * 5 * 5 * 2 * 6 * 8 * 8),
    ],
    ids=["plain", "strided", "depthwise", "grouped"],
)
def test_convolutions(convolution, forward):
    last = nn.Conv2d(convolution.out_channels, 4, 1)
    last_forward = 2 * convolution.out_channels * 4 * (forward // (2 * convolution.weight.numel()))
    counted = flops_of(Network(vision_tower=nn.Sequential(convolution, last)), 4, 8, 8)
    assert counted["forward"] == counted["forward_vision"] == forward + last_forward
    # Twice for the last layer, its input's gradient included; for the first the weight's gradient alone.
    assert counted["backward"] == forward + 2 * last_forward


def test_attention_is_counted():
    class Attention(nn.Module):
        def forward(self, hidden):
            heads = hidden.view(len(hidden), 2, 5, 8)
            return nn.functional.scaled_dot_product_attention(heads, heads, heads)

    counted = flops_of(Network(Attention(), nn.Flatten(), vision_tower=nn.Linear(80, 80)), 80)
    # Two products of a 5 x 5 table for each of 2 heads of 8.
    assert counted["forward"] - counted["forward_vision"] == 2 * 2 * 2 * 5 * 5 * 8


def test_a_whole_model(tiny_model, tiny_processor, paintings):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    rows = complete_paintings(paintings, 4)
    batch = cost.ArtCollator(tiny_processor, tiny_model.config.tasks)(rows)
    counted = count_flops(tiny_model, batch)
    assert 0 < counted["forward_vision"] < counted["forward"] < counted["backward"] < 2 * counted["forward"]
    assert counted["tokens"] == batch["input_ids"].shape[1]
    assert not tiny_model.training
    assert all(parameter.grad is None for parameter in tiny_model.parameters())
    moved = [name for name, value in tiny_model.state_dict().items() if not torch.equal(value, before[name])]
    assert moved == []


def test_parameters(tiny_model):
    text = DistilBertConfig(vocab_size=20, dim=32, n_layers=2, n_heads=4, hidden_dim=64)
    model = SemArtForArtClassification.from_towers(
        "test_resnet", text, tiny_model.config.tasks, pretrained=False, fusion_dim=32, trainable_text_layers=1
    )
    counted = count_parameters(model)
    assert counted["total"] == sum(value.numel() for value in model.parameters())
    assert counted["text"] == sum(value.numel() for value in model.text_tower.parameters())
    # Frozen: the embeddings (20 words, 512 places, a norm) and the first of two equal layers.
    embeddings = (20 + 512 + 2) * 32
    assert counted["total"] - counted["trained"] == embeddings + (counted["text"] - embeddings) // 2


def test_rows_with_picture_and_text_are_preferred(paintings):
    assert [row["image_file"][:5] for row in complete_paintings(paintings, 5)] == [
        "00000",
        "00001",
        "00002",
        "00004",
        "00006",
    ]
    without = paintings.remove_columns("text").add_column("text", [None] * 10)
    assert len(complete_paintings(without, 4)) == 4
    with pytest.raises(ValueError, match=r"a dataset without rows.*Check the split"):
        complete_paintings(paintings.select([]), 4)


def test_the_search_for_the_best_batch_ends_where_nothing_is_gained(monkeypatch):
    speeds = {1: 10, 2: 19, 4: 30, 8: 30.5, 16: 29, 32: 100}
    tried = []

    def fake_seconds(model, batch, **_):
        tried.append(len(batch["pixel_values"]))
        return [tried[-1] / speeds[tried[-1]]] * 3

    monkeypatch.setattr(cost, "forward_seconds", fake_seconds)
    measured = measure_inference(
        nn.Identity(),
        lambda size: {"pixel_values": torch.zeros(size, 1), "labels": torch.zeros(size)},
        batch_sizes=list(speeds),
        seconds=0,
        device=torch.device("cpu"),
    )
    assert tried == [1, 2, 4, 8, 16]
    assert measured["single"]["paintings_per_second"] == pytest.approx(10)
    # 30.5 is no more than 30 but for the scatter, and a smaller batch is easier to have.
    assert measured["best"]["batch_size"] == 4
    assert measured["single"]["milliseconds"] == pytest.approx(100)


def test_a_full_memory_ends_the_search(monkeypatch):
    def fake_seconds(model, batch, **_):
        if len(batch["pixel_values"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [1.0] * 3

    monkeypatch.setattr(cost, "forward_seconds", fake_seconds)
    measured = measure_inference(
        nn.Identity(),
        lambda size: {"pixel_values": torch.zeros(size, 1)},
        batch_sizes=(1, 2, 4),
        seconds=0,
        device=torch.device("cpu"),
    )
    assert [found["batch_size"] for found in measured["by_batch_size"]] == [1, 2]


def test_the_smallest_of_equals_is_best():
    speeds = [{"batch_size": size, "paintings_per_second": speed} for size, speed in ((1, 5), (8, 39.5), (16, 40))]
    assert best_batch_size(speeds)["batch_size"] == 8


def test_checkpoints_do_not_count_on_disk(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "config.json").write_bytes(b"x" * 50)
    (tmp_path / "checkpoint-9").mkdir()
    (tmp_path / "checkpoint-9" / "model.safetensors").write_bytes(b"x" * 1000)
    assert size_on_disk(tmp_path) == {"weights": 1000, "folder": 1050}


def test_peak_memory_grows_with_what_is_held():
    # In a process of its own: one that held more before has its peak behind it.
    lines = [
        "import torch",
        "from semart_hf.evaluation.cost import peak_memory",
        "before = peak_memory('cpu')",
        "held = torch.ones(60_000_000)",
        "print(before, peak_memory('cpu'), held.numel() * 4)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    before, after, held = map(int, done.stdout.split())
    assert held <= after - before < 1.5 * held
    assert 50e6 < before < 5e9


def test_everything_in_one_file(tiny_model_folder, paintings, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(cost, "load_split", lambda *_, **options: asked.update(options) or paintings)
    monkeypatch.setattr(cost, "BATCH_SIZES", (1, 2))
    columns = ["--text_columns", "TITLE", "DESCRIPTION"]  # longer texts cost more: those that the model reads
    cost.main(
        [
            *("--model", str(tiny_model_folder), "--data", "d", "--output", str(tmp_path / "c.json")),
            *("--seconds", "0.01", *columns),
        ]
    )
    assert asked["text_columns"] == columns[1:]
    measured = json.loads((tmp_path / "c.json").read_text())
    assert list(measured) == ["parameters", "flops", "inference", "disk", "environment"]
    weights = tiny_model_folder / "model.safetensors"
    assert measured["disk"]["weights"] == weights.stat().st_size
    assert measured["disk"]["weights"] == pytest.approx(4 * measured["parameters"]["total"], rel=0.05)
