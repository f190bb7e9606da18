import json
from collections import Counter
from contextlib import contextmanager
from itertools import islice

import benchmark
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from benchmarks import bench, figures, measurements, notebook, sides, tower_costs
from benchmarks.bench import Setting, description_lengths, made_data, make_release, make_text_tower, recipe_of
from benchmarks.turns import Side, Turn
from PIL import Image
from rounding import rounding
from test_turns import measured_side
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoTokenizer, DistilBertConfig

from semart_hf.evaluation.results import describe_environment
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import MOST_BATCHES
from semart_hf.model.towers_semart import read_class_token
from semart_hf.recipes.recipe import RECIPES, read_recipe
from semart_hf.training.techniques import TRAINING_TECHNIQUES

SMALL_TEXT_TOWER = DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64)
RECIPE = read_recipe(RECIPES / "semart-resnet18.yaml") | {"vision": "timm/test_resnet.r160_in1k", "image_size": 64}
RECIPE |= {"frozen_vision_stages": 2, "fusion_dim": 32, "per_device_train_batch_size": 8, "dataloader_num_workers": 0}


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    make_release(folder / "release", 24, picture_size=(80, 100), picture_bytes=3000)
    make_text_tower(folder / "text_tower", SMALL_TEXT_TOWER)
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE))
    return Setting(folder, folder / "recipe.yaml")


@pytest.mark.parametrize(("vision", "frozen"), [("test_resnet", 2), ("test_efficientnet", 3), ("test_vit", 4)])
def test_the_yardstick_is_our_model(setting, tmp_path, vision, frozen):
    fields = {"vision": vision, "frozen_vision_stages": frozen, "image_size": 160}
    (tmp_path / "recipe.yaml").write_text(json.dumps({**RECIPE, **fields}))
    setting = Setting(setting.folder, tmp_path / "recipe.yaml")
    tasks = [{"name": name, "labels": [str(label) for label in range(3)]} for name in notebook.NUM_LABELS]
    towers = {"text": str(setting.text_tower), "pretrained": "text", "fusion_dim": 32}
    model = SemArtForArtClassification.from_towers(tasks=tasks, **towers, **fields).eval()
    plain = notebook.NotebookModel(setting, [3, 3, 3, 3]).eval()
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
        torch.testing.assert_close(logits, expected[task], rtol=0, atol=rounding(1024, layers=20))
    learns = sorted(p.shape for n, p in model.named_parameters() if p.requires_grad and n not in absent)
    assert sorted(p.shape for p in plain.parameters() if p.requires_grad) == learns
    model.train(), plain.train()
    counts = [sum(module.training for module in tower.modules()) for tower in (plain.text, model.text_tower)]
    assert counts[0] == counts[1]


def test_the_notebook_and_our_saved_model_predict_and_answer(setting):
    torch.set_num_threads(1)
    for side, rows in ((notebook.train, 8), (notebook.predict, 24), (sides.SIDES["notebook-answer"], 1)):
        assert list(islice(side(setting), 3)) == [rows] * 3
    model = sides.save_model(setting)
    at_once = min(torch.get_num_threads(), MOST_BATCHES)
    assert list(islice(sides.suggest(setting, model), 3)) == [0, 24, 24]
    for side, most in ((sides.predict, 1), (sides.predict_limit, at_once)):
        assert list(islice(side(setting, model), 3)) in ([24] * 3, [24 * most] * 3)
    with setting.side("ours", "ours-answer", model) as side:
        assert side.take_turn(2).rows == 2
    pytest.importorskip("onnxruntime")
    for path in sides.save_graphs(setting, model).values():
        assert list(islice(sides.graph(setting, model, path), 3)) == [24] * 3


@pytest.mark.parametrize("bf16", [False, True])
def test_the_limit_takes_the_fastest_format(setting, monkeypatch, bf16):
    monkeypatch.setattr(sides, "computes_bf16", lambda device: bf16)
    training_step, tried = sides.training_step, []

    def noted(setting, *format_):
        tried.append(format_)
        return training_step(setting, *format_)

    monkeypatch.setattr(sides, "training_step", noted)
    cores = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = list(islice(sides.train_limit(setting), 3))
    finally:
        torch.set_num_threads(cores)
    number = found[0] // 8  # of steps side by side
    assert (found, number in (1, 2)) == ([8 * number] * 3, True)
    layouts = (torch.contiguous_format, torch.channels_last)
    formats = [(layout, other) for layout in layouts for other in {False, bf16}]
    # One step with both cores and two with one each, of each format; then the fastest of them.
    assert Counter(tried) - Counter(3 * formats) == Counter(number * tried[-1:])


@pytest.mark.parametrize("without", ["", "channels last"])
def test_our_training_is_the_scripts_own(setting, tmp_path, monkeypatch, without):
    from semart_hf.training.trainer import SemArtTrainer

    ticks = []

    class FewTicks:
        def tick(self, rows):
            ticks.append(rows)
            if len(ticks) == 3:
                raise SystemExit(0)

    monkeypatch.setattr(sides, "Clock", FewTicks)
    monkeypatch.setattr(SemArtTrainer, "techniques", SemArtTrainer.techniques)  # so that it is put back afterwards
    fields = {"use_cpu": True, "text_cache_dir": tmp_path / "cache", "prepare": False, "output_dir": tmp_path / "m"}
    fields["min_label_count"] = 1  # of few rows
    words = setting.training_side("ours", without=without, **fields).command
    with pytest.raises(SystemExit):
        sides.run_side(words[words.index("side") + 1 :])
    assert ticks == [8, 8, 8]
    names = [technique.name for technique in TRAINING_TECHNIQUES if technique.name != without]
    assert [technique.name for technique in SemArtTrainer.techniques] == names
    assert len(names) == len(TRAINING_TECHNIQUES) - bool(without)


def test_a_field_switches_off_what_the_trainers_list_does_not_have(monkeypatch):
    monkeypatch.setattr(bench, "computes_bf16", lambda device: device == "cpu")
    for device, there in (("cpu", {"bfloat16", "freed memory kept"}), ("cuda", set())):
        found = bench.techniques_of("test_efficientnet", device)
        assert found.keys() & {"bfloat16", "freed memory kept"} == there
        in_list = {name for name, fields in found.items() if not fields}
        assert in_list <= {technique.name for technique in TRAINING_TECHNIQUES}
        assert "channels last" in in_list
        assert ("gradients of convolutions" in in_list) == (device == "cpu")


class Paced(Side):
    """A side without a process, whose every step takes equally long, and whose start a second."""

    def __init__(self, name, seconds):
        super().__init__(name, [])
        self.seconds, self.seconds_to_first_step, self.peak_bytes = seconds, 1.0, 2**30

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def take_turn(self, steps):
        self.turns.append(Turn([self.seconds] * steps, 8 * steps))
        return self.turns[-1]


def test_a_towers_figures_are_put_together(monkeypatch, tmp_path, capsys):
    pace = {"ours": 0.025, "cold": 0.025, "notebook": 0.1, "limit": 0.02, "catalogue": 0.1, "pipeline": 0.025}
    pace |= {"fp32": 0.025, "int8": 0.01}
    monkeypatch.setattr(Setting, "training_side", lambda _, name, **__: Paced(name, pace.get(name, 0.05)))
    monkeypatch.setattr(Setting, "side", lambda _, name, *__: Paced(name, pace[name]))
    monkeypatch.setattr(sides, "save_model", lambda setting: str(tmp_path))
    monkeypatch.setattr(sides, "save_graphs", lambda *_: {"fp32": "", "int8": ""})
    made = []

    @contextmanager
    def no_data(rows):
        made.append(rows)
        yield tmp_path

    monkeypatch.setattr(measurements, "made_data", no_data)
    words = ["--tower", "resnet18", "--repeats", "2", "--seconds", "0.1", "--json", str(tmp_path / "figures.json")]
    benchmark.main(["train", *words, "--rows", "70", "--without_each", "--beside", "1"])
    other = {**describe_environment(), "commit": "1234"}
    kept = json.loads((tmp_path / "figures.json").read_text())
    towers = {"vit_tiny": {"r": 1, "commit": "1234"}}
    kept["inference"] = {"environment": other, "data": {"rows": 128, "device": "cpu"}, "towers": towers}
    (tmp_path / "figures.json").write_text(json.dumps(kept))
    benchmark.main(["inference", *words])
    kept = json.loads((tmp_path / "figures.json").read_text())
    tower = kept["train"]["towers"]["resnet18"]
    assert made == [64, 128]  # whole batches, on both sides
    assert (tower["ratio"]["median"], tower["share_of_limit"]["median"]) == (4.0, 0.8)
    seconds = {name: 1 + (10 * 64 - 32) * pace[name] / 8 for name in ("ours", "notebook")}  # without the first batch
    assert tower["cold_run"]["seconds"] == pytest.approx(seconds, abs=0.5)
    assert tower["cold_run"]["ratio"] == pytest.approx(seconds["notebook"] / seconds["ours"], abs=0.05)
    assert tower["without"]["frozen text computed once"]["speed"]["median"] == 0.5
    assert kept["inference"]["towers"]["resnet18"]["latency_ratio"]["median"] == 0.25
    assert kept["inference"]["towers"]["resnet18"]["catalogue_ratio"]["median"] == 0.25
    graphs = kept["inference"]["towers"]["resnet18"]["onnx"]
    assert {name: figure["median"] for name, figure in graphs.items()} == {"fp32": 0.8, "int8": 2.0}
    same = {"median": 1.0, "min": 1.0, "max": 1.0}
    assert tower["beside"] == {"processes": 1, "speed": {"ours": same, "notebook": same}}
    assert kept["inference"]["towers"]["resnet18"]["share_of_limit"]["median"] == 0.8
    assert "beside" not in kept["inference"]["towers"]["resnet18"]
    assert kept["inference"]["towers"]["vit_tiny"] == {"r": 1, "commit": "1234"}
    assert "1234" in figures.commits_of(kept["inference"])
    assert kept["inference"]["environment"]["torch"] == torch.__version__.split("+")[0]
    assert "| frozen text computed once | " in capsys.readouterr().out


def test_memory_is_measured_by_rows(monkeypatch, tmp_path, capsys):
    read = []

    def training_side(setting, name, **fields):
        read.append(fields)
        return measured_side(name, 0.01)

    monkeypatch.setattr(Setting, "training_side", training_side)
    monkeypatch.setattr(
        measurements, "prepare", lambda _, *folders: read.append(sorted(p.name for p in folders[0].iterdir()))
    )
    monkeypatch.setattr(Setting, "side", lambda setting, name, part, model: measured_side(name, 0.01))
    benchmark.main(["memory", "--rows", "64", "96", "--json", str(tmp_path)])
    (path,) = tmp_path.glob("*.json")  # by the machine's name
    memory = json.loads(path.read_text())["memory"]
    assert path.stem == benchmark.machine_name(memory["environment"])
    ways = memory["ways"]
    assert [list(figures["peak_mb"]) for figures in ways.values()] == [["64", "96"]] * 3
    assert all(0 < speed < 800 for figures in ways.values() for speed in figures["rows_per_second"].values())
    assert read[0] == read[3] == ["Images", "semart_train.csv", "semart_val.csv"]  # without a second, no stream
    assert [fields["streaming"] for fields in read[1:3] + read[4:]] == [False, True] * 2
    assert "small towers, answering a catalogue: peak memory 64 rows " in capsys.readouterr().out


def test_operations_and_what_is_kept_are_counted(setting, tmp_path):
    fields = {"vision": "test_vit", "image_size": 160, "frozen_vision_stages": 7, "trainable_text_layers": 0}
    counts = []
    for name, own in (("frozen", {}), ("learning", {"frozen_vision_stages": 0})):
        (tmp_path / f"{name}.yaml").write_text(json.dumps({**RECIPE, **fields, **own}))
        counts.append(tower_costs.count_tensors(Setting(setting.folder, tmp_path / f"{name}.yaml")))
    frozen, learning = counts
    tower = timm.create_model("test_vit", num_classes=0)
    read_class_token(tower)
    with FlopCounterMode(display=False) as counter:
        tower(torch.zeros(1, 3, 160, 160))
    # Of what learns, forward and the weights' gradient; of what lies behind another layer that learns, its gradient.
    dim, labels, text_dim = 32, sum(notebook.NUM_LABELS.values()), 32
    new = 2 * 2 * dim * (tower.num_features + text_dim) + 3 * 2 * dim * (2 * dim + labels)
    assert frozen["operations_per_row"] == counter.get_total_flops() + new
    learned = dim * (tower.num_features + text_dim + 2 * dim + labels) + 3 * dim + labels + 2 * 2 * dim + 2 * dim
    assert frozen["learned"] == learned
    assert frozen["parameters"] == learning["parameters"]
    assert learning["learned"] - frozen["learned"] == sum(parameter.numel() for parameter in tower.parameters())
    # A block keeps at least its queries, keys, values and the two inputs of its perceptron, in bfloat16.
    tokens, blocks = 101, len(tower.blocks)
    least = 2 * blocks * tokens * (3 + 1 + 3) * tower.num_features
    assert least < learning["kept_per_row"] - frozen["kept_per_row"] < 6 * least


def test_a_convolution_in_groups_costs_each_gradient_what_it_costs_forward():
    pictures = torch.randn(2, 8, 5, 5, requires_grad=True)
    for is_asked, times in ((True, 3), (False, 2)):
        convolution = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
        with tower_costs.operation_counter() as counter:
            convolution(pictures.requires_grad_(is_asked)).sum().backward()
        assert counter.get_total_flops() == times * 2 * 2 * 8 * 25 * 9


def test_the_larger_towers_are_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Setting, "training_side", lambda _, name, **__: measured_side(name, 0.01))
    counted = {"parameters": 2 * 10**9, "learned": 10**9 // 2, "kept_per_row": 10**8, "kept_once": 0}
    monkeypatch.setattr(tower_costs, "in_process", lambda *_: {**counted, "operations_per_row": 10**12})
    monkeypatch.setattr(tower_costs, "TEXT_TOWER", SMALL_TEXT_TOWER)
    monkeypatch.setattr(tower_costs, "TOWERS", {"test_vit": 2, "test_resnet": 3})
    monkeypatch.setattr(tower_costs, "NUM_ROWS", 2)
    benchmark.main(["towers", "--json", str(tmp_path / "figures.json")])
    found = json.loads((tmp_path / "figures.json").read_text())["towers"]
    assert {name: tower["frozen"] for name, tower in found["towers"].items()} == tower_costs.TOWERS
    assert found["image_size"] == 384
    # In GB: weights 8, gradients 2, moments 4, outside 1.5; 0.1 a row, for which 8.5 of 24 are left and 64.5 of 80.
    printed = capsys.readouterr().out
    assert "at a batch of 64, GB | 22 | 22 |" in printed
    assert "largest batch in 24 GB; 80 GB | 64; 512 |" in printed
    assert "hours of 6 epochs of SemArt | 0.6 |" in printed  # 19,244 * 6 at 50 a second


def test_the_study_recipes_are_found(monkeypatch):
    options = benchmark.parse_arguments(["train"])
    names = [f"semart-{tower}.yaml" for tower in ("resnet18", "efficientnet_b0", "vit_tiny")]
    assert [recipe_of(tower).name for tower in options.tower] == names
    monkeypatch.setattr(measurements, "made_data", None)  # a wrong name is said before anything is made
    with pytest.raises(SystemExit, match=r"Got the tower 'vgg'.*Correct --tower"):
        benchmark.main(["train", "--tower", "resnet18", "vgg"])
    with pytest.raises(SystemExit, match=r"rows is 5, but a batch has 32"):
        benchmark.main(["train", "--rows", "5"])


def test_made_texts_and_pictures_are_as_long_and_large_as_those_of_semart(setting, tmp_path):
    lengths = description_lengths(np.random.default_rng(0), 19_244)
    # Words, by the 1.31 tokens that one has in BERT's vocabulary.
    assert np.median(lengths) / 1.31 == pytest.approx(66, abs=2)
    assert np.quantile(lengths, 0.9) / 1.31 == pytest.approx(212, rel=0.05)
    assert (lengths.min() >= 5, lengths.max()) == (True, round(797 * 1.31))
    tokenizer = AutoTokenizer.from_pretrained(setting.text_tower)
    texts = pd.read_csv(setting.release / "semart_train.csv", sep="\t")["DESCRIPTION"].tolist()
    tokens = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert [len(one) for one in tokens] == [len(text.split()) for text in texts]
    assert tokenizer.unk_token_id not in {token for one in tokens for token in one}
    picture_bytes = make_release(tmp_path / "release", 3)
    files = sorted((tmp_path / "release" / "Images").iterdir())
    assert picture_bytes == pytest.approx(140_000, rel=0.1)
    assert len({file.read_bytes() for file in files}) == 3
    assert Image.open(files[0]).size == (1000, 1250)


def test_a_start_and_a_way_of_preparing_are_measured_in_a_process(tmp_path, setting):
    assert 0.1 < measurements.seconds_of(["-c", "import time; time.sleep(0.1)"])["seconds"] < 10
    profile = measurements.import_profile(["-c", "import email.message, json"])
    assert profile["email"] > 0
    assert list(profile.values()) == sorted(profile.values(), reverse=True)
    seconds, megabytes = measurements.prepare("prepared", setting.release, tmp_path / "out")
    assert seconds > 0
    assert megabytes > 10


def test_made_data_are_removed_and_a_gpu_stays_in_sight_where_it_is_measured(setting):
    with made_data(2, SMALL_TEXT_TOWER, picture_size=(16, 16), picture_bytes=500) as folder:
        assert (folder / "release" / "semart_train.csv").is_file()
    assert not folder.exists()
    measured = [Setting(setting.folder, setting.path, device).side("", "") for device in ("cpu", "cuda")]
    assert [side.environment.get("CUDA_VISIBLE_DEVICES") for side in measured] == ["", None]
