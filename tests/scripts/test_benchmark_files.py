"""What the benchmark makes and keeps: pictures, figures, a bench that goes away."""

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_release import load_script

CHECKOUT = Path(__file__).parents[2]
benchmark = load_script("benchmark")  # puts the parts within reach of the imports below

from benchmarks.bench import Bench, made_bench  # noqa: E402
from benchmarks.stand_in import make_release  # noqa: E402
from benchmarks.starting import seconds_by_package  # noqa: E402

SMALL_TEXT_TOWER = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}


def test_made_pictures_are_as_large_as_those_of_semart(tmp_path):
    facts = make_release(tmp_path / "release", 3)
    files = sorted((tmp_path / "release" / "Images").iterdir())

    assert facts["picture_bytes"] == pytest.approx(140_000, rel=0.1)
    assert len({file.read_bytes() for file in files}) == 3
    assert Image.open(io.BytesIO(files[0].read_bytes())).size == (1000, 1250)


def test_imports_are_summed_by_package():
    told = "import time: self [us] | cumulative | imported package\n"
    told += (
        "import time:       500 |       1500 |   torch.nn\nimport time:      1000 |       1000 | torch\nother line\n"
    )

    assert seconds_by_package(told) == {"torch": 0.0015}


def test_figures_of_parts_are_kept_side_by_side(tmp_path):
    file = tmp_path / "results" / "here.json"
    benchmark.keep(file, "train", {"towers": {}})
    benchmark.keep(file, "startup", {"starts": {}})

    kept = json.loads(file.read_text())

    assert set(kept) == {"train", "startup"}
    assert kept["startup"]["environment"]["torch"] == torch.__version__.split("+")[0]


def test_a_made_bench_is_removed(tmp_path):
    with made_bench(
        2,
        text_length=16,
        device="cuda",
        work_dir=tmp_path,
        text_sizes=SMALL_TEXT_TOWER,
        picture_size=(16, 16),
        picture_bytes=500,
    ) as bench:
        assert (bench.release / "semart_train.csv").is_file()
        # A GPU stays in sight only where it is meant to be measured.
        assert "CUDA_VISIBLE_DEVICES" not in bench.environment
        assert Bench(tmp_path, 16, "cpu", {}).environment["CUDA_VISIBLE_DEVICES"] == ""

    assert list(tmp_path.iterdir()) == []
