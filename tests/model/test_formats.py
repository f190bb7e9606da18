"""Saved models of every format go on loading, by each Auto class, with the answers that they gave when saved."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rounding import rounding
from small_models import scores
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline

import semart_hf
from semart_hf.model.pipeline_semart import save_repository

FORMATS = sorted(path for path in (Path(__file__).parents[1] / "formats").iterdir() if path.is_dir())
TEXT = "A view of Delft, the river"
ROUNDING = rounding(144, layers=20, size=4)  # channels of at most 16, kernels of 3 x 3, logits of about 4


def make_picture() -> Image.Image:
    """A smooth picture, so that a library's new rounding changes little."""
    rows, columns = np.mgrid[0:48, 0:40]
    waves = [128 + 100 * np.sin(rows / (5 + channel) + columns / 9) for channel in range(3)]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


def make_inputs(model) -> dict[str, torch.Tensor]:
    """Inputs that depend on no library: two pictures, two texts of which one is padded."""
    side = model.config.vision_config.pretrained_cfg["input_size"][-1]
    steps = torch.arange(2 * 3 * side * side, dtype=torch.float64)
    return {
        "pixel_values": torch.sin(steps * 0.37).float().view(2, 3, side, side),
        "input_ids": torch.tensor([[2, 5, 6, 7, 8, 3], [2, 11, 3, 0, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]),
    }


def answers_of(folder: Path) -> dict[str, dict[str, object]]:
    """What is stored beside a model of a format: logits for fixed inputs, and the scores of a picture and a text."""
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = {task: values.tolist() for task, values in model(**make_inputs(model)).logits.items()}
    classify = pipeline("art-classification", model=str(folder))
    return {"logits": logits, "scores": scores(classify({"image": make_picture(), "text": TEXT}, top_k=None))}


def assert_stored_scores(classify, saved: Path, tolerance: float) -> None:
    stored = json.loads((saved / "answers.json").read_text())["scores"]
    for task, found in scores(classify({"image": make_picture(), "text": TEXT}, top_k=None)).items():
        assert found == pytest.approx(stored[task], abs=tolerance)


@pytest.fixture(scope="module", params=FORMATS, ids=lambda path: path.name)
def saved(request) -> Path:
    return request.param


def test_a_model_of_every_format_gives_the_answers_it_gave(saved):
    expected = json.loads((saved / "answers.json").read_text())
    found = answers_of(saved)
    assert AutoConfig.from_pretrained(saved).format_version == saved.name
    assert list(found["logits"]) == list(AutoConfig.from_pretrained(saved).task_names)
    for task, logits in expected["logits"].items():
        np.testing.assert_allclose(found["logits"][task], logits, atol=ROUNDING)
    for task, stored in expected["scores"].items():
        assert found["scores"][task] == pytest.approx(stored, abs=1e-3)
    assert semart_hf.SemArtConfig().format_version in [path.name for path in FORMATS]


def test_a_model_that_is_saved_again_keeps_its_format_and_a_newer_one_is_refused(saved, tmp_path):
    model = AutoModel.from_pretrained(saved)
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert again.config.format_version == saved.name
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    learns = [{name for name, part in one.named_parameters() if part.requires_grad} for one in (model, again)]
    assert learns[0] == learns[1] < set(dict(model.named_parameters()))
    shutil.copytree(saved, tmp_path / "newer")
    path = tmp_path / "newer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": "2.0"}))
    for load in (AutoConfig, AutoModel):
        with pytest.raises(ValueError, match=r"'2\.0'.*up to 1\.x.*Upgrade with `pip install -U semart-hf`"):
            load.from_pretrained(tmp_path / "newer")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bfloat16", torch.bfloat16), ("float16", torch.float16), ("auto", torch.float32), (torch.bfloat16,) * 2],
)
def test_loads_with_a_dtype(saved, dtype, expected):
    model = AutoModel.from_pretrained(saved, dtype=dtype)
    classify = pipeline("art-classification", model=str(saved), dtype=dtype, device="cpu")
    # Few numbers decide: a model in float16 fuses and answers in float32.
    kept = torch.float32 if expected == torch.float16 else expected
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (kept if name.startswith(("fusion", "heads")) else expected), name
    assert classify.model.dtype == expected
    assert_stored_scores(classify, saved, 0.05)


@pytest.mark.parametrize("place", [{"device": "cpu"}, {"device": -1}, {"device_map": "auto"}, {"device_map": "cpu"}])
def test_a_pipeline_is_placed(saved, place):
    classify = pipeline("art-classification", model=str(saved), **place)
    assert classify.device.type == ("cuda" if "auto" in place.values() and torch.cuda.is_available() else "cpu")
    assert_stored_scores(classify, saved, 1e-3)


@pytest.mark.filterwarnings("ignore:The following device_map keys do not match any submodules")
def test_parts_on_disk_answer_the_same_or_are_refused(saved, tmp_path):
    whole = AutoModel.from_pretrained(saved)
    parts = [name for name, _ in [*whole.named_parameters(recurse=False), *whole.named_children()]]

    def on_disk(*names):
        device_map = dict.fromkeys(parts, "cpu") | dict.fromkeys(names, "disk")
        return AutoModel.from_pretrained(saved, device_map=device_map, offload_folder=tmp_path).eval()

    model = on_disk("text_tower", "heads")
    assert all(parameter.is_meta for parameter in model.text_tower.parameters())
    with torch.no_grad():
        logits = model(**make_inputs(model)).logits
    for task, expected in json.loads((saved / "answers.json").read_text())["logits"].items():
        np.testing.assert_allclose(logits[task], expected, atol=ROUNDING)
    with pytest.raises(ValueError, match=r"vision tower is offloaded.*Allowed is a device.*'vision_tower': 'cpu'"):
        on_disk("vision_tower")(**make_inputs(whole))


if __name__ == "__main__":  # once for each new format: python tests/model/test_formats.py
    model = AutoModel.from_pretrained(FORMATS[-1])
    first, *others, last = model.config.tasks
    first |= {"kind": "multi_label", "thresholds": [0.25] * len(first["labels"]), "separator": ";"}
    last |= {"kind": "ordered", "positions": list(range(len(last["labels"]))), "unit": "cm"}
    model.config.set_tasks([first, *others, last])
    new = FORMATS[-1].parent / model.config.format_version
    if new.exists():
        raise SystemExit(f"{new} is there already: what was saved stays as it is.")
    save_repository(model, AutoProcessor.from_pretrained(FORMATS[-1]), new)
    for code in new.glob("*.py"):
        code.unlink()
    (new / "answers.json").write_text(json.dumps(answers_of(new), indent=1) + "\n")
