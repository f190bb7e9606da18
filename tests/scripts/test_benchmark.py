"""The measuring itself: turns and their ratios, and a yardstick that is the same model on the same inputs."""

import csv
import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_release import load_script
from transformers import AutoTokenizer

CHECKOUT = Path(__file__).parents[2]
benchmark = load_script("benchmark")  # puts the parts within reach of the imports below

from benchmarks import figures, inference_speed, limit, notebook, ours, training_speed  # noqa: E402
from benchmarks.bench import Bench, recipe_of  # noqa: E402
from benchmarks.inference_speed import save_model  # noqa: E402
from benchmarks.measured import setting_of  # noqa: E402
from benchmarks.sides import Side, Turn, alternate, peak_memory_of_tree  # noqa: E402
from benchmarks.stand_in import description_lengths, make_release, make_text_tower  # noqa: E402

from semart_hf.model.modeling_semart import SemArtForArtClassification  # noqa: E402
from semart_hf.training.recipe import read_recipe  # noqa: E402

SMALL_TEXT_TOWER = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
RECIPE = """
vision: {vision}
image_size: {size}
frozen_vision_stages: {frozen}
trainable_text_layers: 1
fusion_dim: 32
fusion_dropout: 0.1
crop_scale: [0.6, 1.0]
crop_ratio: [0.75, 1.3333]
horizontal_flip: 0.5
rotation: 10
color_jitter: 0.1
random_erasing: 0.1
num_train_epochs: 2
per_device_train_batch_size: 8
learning_rate: 3e-4
warmup_steps: 0.05
weight_decay: 0.05
max_grad_norm: 1.0
dataloader_num_workers: 0
"""
MEASURED = """
import sys, time
sys.path.append({scripts!r})
from benchmarks.clock import Clock
clock = Clock(format="best")
while True:
    time.sleep({seconds})
    clock.tick(rows=8)
"""


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    make_release(folder / "release", 24, picture_size=(80, 100), picture_bytes=3000)
    make_text_tower(folder / "text_tower", **SMALL_TEXT_TOWER)
    (folder / "recipe.yaml").write_text(RECIPE.format(vision="timm/test_resnet.r160_in1k", size=64, frozen=2))
    return notebook.Setting(
        read_recipe(folder / "recipe.yaml"), folder / "release", folder / "text_tower", text_length=16
    )


@pytest.fixture
def few_ticks(monkeypatch):
    """A clock that lets three steps be done, and what it was told."""
    told = []

    class FewTicks:
        def __init__(self, **facts):
            told.append(facts)

        def tick(self, rows):
            told.append(rows)
            if len(told) == 4:
                raise SystemExit(0)

    for module in (notebook, limit, ours):
        monkeypatch.setattr(module, "Clock", FewTicks)
    return told


def side_with(*speeds):
    return Side("any", [], turns=[Turn([8 / speed / 2] * 2, rows=8) for speed in speeds])


def measured_side(name, seconds):
    code = MEASURED.format(scripts=str(CHECKOUT / "scripts"), seconds=seconds)
    return Side(name, [sys.executable, "-c", code])


def is_stopped(side):
    """Whether the process stands still; a signal takes a moment to arrive."""
    for _ in range(100):
        if Path(f"/proc/{side._process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T":
            return True
        time.sleep(0.05)
    return False


def test_a_speed_is_the_median_turns_with_the_spread_of_all():
    assert figures.speed(side_with(10.0, 30.0, 20.0)) == {"median": 20.0, "min": 10.0, "max": 30.0}


def test_a_ratio_is_formed_turn_by_turn():
    # The machine was half as fast in the second turn, for both sides.
    ratio = figures.speed_ratio(side_with(40.0, 20.0, 44.0), over=side_with(10.0, 5.0, 10.0))

    assert ratio == {"median": 4.0, "min": 4.0, "max": 4.4}


def test_work_is_compared_by_the_row():
    ours = Side("ours", [], turns=[Turn([1.0], rows=16, processor_seconds=0.4)])
    theirs = Side("theirs", [], turns=[Turn([1.0], rows=8, processor_seconds=0.8)])

    assert figures.work_ratio(ours, over=theirs)["median"] == 4.0


def test_a_latency_is_the_median_step_of_the_median_turn():
    slow = Side("slow", [], turns=[Turn([0.1, 0.9, 0.2], 3), Turn([0.4, 0.4, 0.4], 3)])
    fast = Side("fast", [], turns=[Turn([0.1], 1), Turn([0.1], 1)])

    assert figures.latency(slow) == {"median": 300.0, "min": 200.0, "max": 400.0}
    assert figures.latency_ratio(fast, over=slow) == {"median": 0.375, "min": 0.25, "max": 0.5}


def test_a_run_from_a_cold_start_counts_all_its_parts():
    assert figures.whole_run_seconds(preparation=30.0, first_step=10.0, rows_per_second=20.0, rows=400) == 60.0


def test_figures_are_shown_with_their_spread():
    assert figures.cell({"median": 3.214, "min": 3.1, "max": 3.35}) == "3.21 (3.10–3.35)"
    assert figures.cell(None) == "–"
    assert figures.cell(4.0, 1) == "4.0"


def test_sides_take_turns_and_stand_still_in_the_others():
    with measured_side("slow", 0.1) as slow, measured_side("fast", 0.05) as fast:
        alternate([slow, fast], repeats=3, seconds=0.3)

        assert [is_stopped(side) for side in (slow, fast)] == [True, True]
        assert peak_memory_of_tree(slow._process.pid) > 2**20

    assert [len(side.turns) for side in (slow, fast)] == [3, 3]
    assert len({len(turn.seconds) for turn in slow.turns}) == 1
    assert all(turn.rows == 8 * len(turn.seconds) for turn in (*slow.turns, *fast.turns))
    assert figures.speed_ratio(fast, slow)["median"] == pytest.approx(2.0, rel=0.4)
    assert fast.facts == {"format": "best"}
    assert fast.seconds_to_first_step > 0.05
    assert slow.peak_bytes > 2**20


def test_processor_time_is_what_was_computed_and_not_slept():
    busy = measured_side("busy", 0).command[-1].replace("time.sleep(0)", "sum(range(5_000_000))")
    with Side("busy", [sys.executable, "-c", busy]) as side, measured_side("asleep", 0.1) as asleep:
        worked, slept = side.take_turn(4), asleep.take_turn(4)

    assert worked.processor_seconds >= 0.1
    assert slept.processor_seconds <= 0.1


def test_turns_go_forwards_and_backwards():
    order = []

    class Recorded(Side):
        def take_turn(self, steps):
            order.append((self.name, steps))
            self.turns.append(Turn([0.5] * steps, 8 * steps))
            return self.turns[-1]

    alternate([Recorded("a", []), Recorded("b", [])], repeats=2, seconds=1.0)

    assert order == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("b", 2), ("a", 2)]


def test_a_side_that_ends_says_what_it_said():
    with pytest.raises(RuntimeError, match=r"(?s)broken: the measured process ended with 1.*ZeroDivisionError"):
        Side("broken", [sys.executable, "-c", "1 / 0"]).start()


@pytest.mark.parametrize(("vision", "frozen"), [("test_resnet", 2), ("test_efficientnet", 3), ("test_vit", 4)])
def test_the_yardstick_is_our_model(setting, vision, frozen):
    recipe = {**setting.recipe, "vision": vision, "frozen_vision_stages": frozen, "image_size": 160}
    mine = notebook.Setting(recipe, setting.release, setting.text_tower)
    tasks = [{"name": name, "labels": [str(label) for label in range(3)]} for name in notebook.NUM_LABELS]
    model = SemArtForArtClassification.from_towers(
        vision,
        setting.text_tower,
        tasks,
        pretrained="text",
        frozen_vision_stages=frozen,
        fusion_dim=32,
        image_size=160,
    ).eval()
    plain = notebook.NotebookModel(mine, [3, 3, 3, 3]).eval()
    weights = {}
    for name, value in model.state_dict().items():
        name = name.replace("vision_tower.timm_model.", "vision.").replace("text_tower.", "text.")
        for task, label in enumerate(notebook.NUM_LABELS):
            name = name.replace(f"heads.head_{label}.", f"heads.{task}.")
        weights[name] = value
    absent = {"absent_image", "absent_text"}
    assert plain.load_state_dict(weights, strict=False).unexpected_keys == sorted(absent)
    pictures, tokens = torch.randn(3, 3, 160, 160), torch.randint(5, 50, (3, 12))
    mask = torch.ones_like(tokens)
    mask[1, 7:] = 0

    with torch.no_grad():
        expected = model(pictures, tokens, mask).logits
        found = plain(pictures, tokens, mask)

    for task, logits in zip(notebook.NUM_LABELS, found, strict=True):
        torch.testing.assert_close(logits, expected[task], rtol=0, atol=1e-5)

    # The same learns.
    learns = sorted(p.shape for n, p in model.named_parameters() if p.requires_grad and n not in absent)
    assert sorted(p.shape for p in plain.parameters() if p.requires_grad) == learns
    model.train(), plain.train()
    assert sum(module.training for module in plain.text.modules()) == sum(
        module.training for module in model.text_tower.modules()
    )


def test_the_notebook_trains(setting, few_ticks):
    torch.set_num_threads(1)
    with pytest.raises(SystemExit):
        notebook.train(setting)

    assert few_ticks == [{}, 8, 8, 8]


def test_the_notebook_predicts_and_answers(setting, few_ticks):
    with pytest.raises(SystemExit):
        notebook.predict(setting, batch_size=8)
    assert few_ticks == [{}, 8, 8, 8]
    few_ticks.clear()
    with pytest.raises(SystemExit):
        notebook.answer_one_by_one(setting)
    assert few_ticks == [{}, 1, 1, 1]


def test_the_limit_takes_the_fastest_format(setting, few_ticks):
    with pytest.raises(SystemExit):
        limit.limit_of_training(setting, bf16=False, compiled=False)

    facts, *rows = few_ticks
    assert rows == [8, 8, 8]
    assert set(facts["formats"]) == {"contiguous fp32", "channels_last fp32"}
    assert facts["format"] == max(facts["formats"], key=facts["formats"].get)


def test_formats_that_are_known_to_be_slow_are_not_tried():
    assert [str(format_) for format_ in limit.formats_to_try(bf16=False, compiled=True)] == [
        "contiguous fp32",
        "contiguous fp32 compiled",
        "channels_last fp32",
        "channels_last fp32 compiled",
    ]
    assert len(limit.formats_to_try(bf16=True, compiled=True)) == 8


def test_a_limit_of_inference_runs(setting, few_ticks):
    with pytest.raises(SystemExit):
        limit.limit_of_inference(setting, bf16=False, compiled=False)

    assert few_ticks[1:] == [8, 8, 8]


def test_our_saved_model_predicts_and_answers(setting, few_ticks, tmp_path):
    ours.save_model(setting, tmp_path / "model")

    with pytest.raises(SystemExit):
        ours.predict(setting, tmp_path / "model", batch_size=8, num_workers=0)
    assert few_ticks == [{}, 24, 24, 24]
    few_ticks.clear()
    with pytest.raises(SystemExit):
        ours.answer_one_by_one(setting, tmp_path / "model")
    assert few_ticks == [{}, 1, 1, 1]


def test_a_measured_process_reads_the_benchs_setting(setting, tmp_path):
    recipe = setting.release.parent / "recipe.yaml"
    bench = Bench(setting.release.parent, 16, "cpu", {})

    assert setting_of(bench.setting_words(recipe)) == setting
    assert save_model(bench, recipe).is_dir()


def test_our_training_is_the_scripts_own(setting, few_ticks, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(vision="timm/test_resnet.r160_in1k", size=64, frozen=2))
    bench = Bench(tmp_path, 16, "cpu", {"rows": 24})
    side = bench.training_side("ours", recipe, {"data": setting.release, "text": setting.text_tower, "use_cpu": True})
    words = side.command[side.command.index("ours-train") + 1 :]

    with pytest.raises(SystemExit):
        ours.train([*words, "--text_cache_dir", str(tmp_path / "cache"), "--prepare", "false"])

    assert few_ticks == [{}, 8, 8, 8]


def test_a_towers_figures_are_put_together(monkeypatch, tmp_path, capsys):
    """The whole of `train` and `inference`, with sleeping processes for sides."""
    pace = {"ours": 0.05, "cold": 0.05, "notebook": 0.2, "limit": 0.04}
    monkeypatch.setattr(Bench, "training_side", lambda self, name, *rest: measured_side(name, pace.get(name, 0.1)))
    monkeypatch.setattr(Bench, "python_side", lambda self, name, *rest: measured_side(name, pace[name]))
    monkeypatch.setattr(inference_speed, "save_model", lambda bench, recipe: tmp_path)
    made = []

    @contextmanager
    def no_bench(rows, **options):
        made.append(rows)
        yield Bench(tmp_path, options["text_length"], options["device"], {"rows": rows})

    monkeypatch.setattr(training_speed, "made_bench", no_bench)
    monkeypatch.setattr(inference_speed, "made_bench", no_bench)
    words = ["--tower", "resnet18", "--repeats", "2", "--seconds", "0.2", "--json", str(tmp_path / "figures.json")]

    benchmark.main(["train", *words, "--rows", "70", "--epochs", "3", "--without_each"])
    benchmark.main(["inference", *words])

    kept = json.loads((tmp_path / "figures.json").read_text())
    tower = kept["train"]["towers"]["resnet18"]
    assert made == [64, 256]  # whole batches, on both sides
    assert tower["ratio"]["median"] == pytest.approx(4.0, rel=0.4)
    assert tower["share_of_limit"]["median"] == pytest.approx(0.8, rel=0.4)
    assert tower["cold_run"]["is_reckoned"]
    assert tower["cold_run"]["ratio"] == pytest.approx(
        tower["cold_run"]["seconds"]["notebook"] / tower["cold_run"]["seconds"]["ours"], abs=0.5
    )
    assert tower["without"]["frozen text computed once"]["speed"]["median"] == pytest.approx(0.5, rel=0.4)
    assert tower["limit_format"] == "best"
    assert kept["inference"]["towers"]["resnet18"]["latency_ratio"]["median"] == pytest.approx(0.25, rel=0.4)
    assert "frozen text computed once" in capsys.readouterr().out


def test_memory_is_measured_by_rows(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Bench, "training_side", lambda self, name, *rest: measured_side(name, 0.01))
    benchmark.main(["memory", "--rows", "64", "96", "--json", str(tmp_path / "figures.json")])

    memory = json.loads((tmp_path / "figures.json").read_text())["memory"]
    assert list(memory["peak_mb"]) == ["64", "96"]
    assert memory["growth"] == pytest.approx(0, abs=0.2)  # the same sleeping process
    assert "Growth" in capsys.readouterr().out


def test_the_study_recipes_are_found():
    assert [recipe_of(tower).name for tower in benchmark.TOWERS] == [
        "semart-resnet18.yaml",
        "semart-efficientnet_b0.yaml",
        "semart-vit_tiny.yaml",
    ]
    with pytest.raises(ValueError, match=r"Got the tower 'vgg'.*Give one of"):
        recipe_of("vgg")


def test_made_texts_are_as_long_as_those_of_semart():
    lengths = description_lengths(np.random.default_rng(0), 19_244)

    assert np.median(lengths) == pytest.approx(66, abs=2)
    assert np.quantile(lengths, 0.9) == pytest.approx(212, rel=0.05)
    assert lengths.max() == 797
    assert lengths.min() >= 5


def test_made_texts_have_as_many_tokens_a_word_as_those_of_semart(setting, tmp_path):
    make_release(tmp_path / "release", 200, picture_size=(16, 16), picture_bytes=500)
    tokenizer = AutoTokenizer.from_pretrained(setting.text_tower)
    with (tmp_path / "release" / "semart_train.csv").open(encoding="cp1252", newline="") as file:
        texts = [row["DESCRIPTION"] for row in csv.DictReader(file, delimiter="\t")]

    tokens = sum(len(ids) for ids in tokenizer(texts)["input_ids"])

    assert tokens / sum(len(text.split()) for text in texts) == pytest.approx(1.31, abs=0.05)
    assert tokenizer.unk_token_id not in {token for ids in tokenizer(texts)["input_ids"] for token in ids}
