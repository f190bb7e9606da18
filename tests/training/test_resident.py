"""Whether training pictures lie on the device: what the recipe, the data and the memory say."""

import datasets
import pytest
import torch

from semart_hf.data.loading import load_paintings
from semart_hf.data.resident_pictures import ResidentRows, num_pixels
from semart_hf.training import resident
from semart_hf.training.arguments import SemArtTrainingArguments
from semart_hf.training.recipe import DataArguments
from semart_hf.training.resident import with_resident_pictures


@pytest.fixture(scope="module")
def rows(small_release):
    return load_paintings(small_release)["train"].cast_column("image", datasets.Image(decode=False))


@pytest.fixture
def training(tmp_path):
    return SemArtTrainingArguments(output_dir=str(tmp_path), report_to="none", disable_tqdm=True)


def test_a_cpu_keeps_its_pictures_as_files_unless_it_is_asked(rows, training):
    assert with_resident_pictures(rows, DataArguments(data="-"), training) == (rows, None)
    found, remark = with_resident_pictures(rows, DataArguments(data="-", resident_pictures="true"), training)
    assert isinstance(found, ResidentRows)
    assert len(found.pixels) == num_pixels(rows)
    assert remark == f"Training pictures: {3 * num_pixels(rows) / 1e9:.1f} GB on cpu, decoded once"


def test_an_accelerator_takes_what_has_room(rows, training, monkeypatch):
    """The decision for a device that is no CPU; the pictures themselves stay here."""
    needed = 3 * num_pixels(rows)
    monkeypatch.setattr(SemArtTrainingArguments, "device", torch.device("meta"))
    monkeypatch.setattr(resident, "read_pictures", lambda rows, device, **_: ResidentRows(rows, [], torch.empty(0)))
    monkeypatch.setattr(resident, "_free_bytes", lambda device: 2 * needed)
    found, _ = with_resident_pictures(rows, DataArguments(data="-"), training)
    assert isinstance(found, ResidentRows)
    monkeypatch.setattr(resident, "_free_bytes", lambda device: 2 * needed - 1)
    found, remark = with_resident_pictures(rows, DataArguments(data="-"), training)
    assert found is rows
    assert "decoded in every epoch" in remark
    with pytest.raises(ValueError, match="resident_pictures is true, but they may take half of the free memory"):
        with_resident_pictures(rows, DataArguments(data="-", resident_pictures="true"), training)
    assert with_resident_pictures(rows, DataArguments(data="-", resident_pictures="false"), training) == (rows, None)


def test_texts_alone_have_no_pictures_to_keep(rows, training):
    with pytest.raises(ValueError, match="resident_pictures: true with streaming: false and modality: text"):
        with_resident_pictures(rows, DataArguments(data="-", resident_pictures="true", modality="text"), training)
    assert with_resident_pictures(rows, DataArguments(data="-", modality="text"), training) == (rows, None)
