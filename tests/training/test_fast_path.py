import platform
import resource
import subprocess
import sys

import pytest
import small_trainer
from rounding import rounding
from small_trainer import STEPS_ALONE, make_model, make_trainer, parts_of

from semart_hf.data.data_arguments import Augmentation
from semart_hf.model import towers_semart
from semart_hf.training.trainer import SemArtTrainer

# Towers compute in double, so that steps differ by the rounding of a loss, a mean of 16 rows over 4 tasks.
ROUNDING = rounding(16 * 4, size=3)


def losses_of(release, folder, *, vision="test_resnet", dropout=0.1, finishes_pictures=True, **options):
    text_args = {**small_trainer.TEXT, "dropout": dropout, "attention_dropout": dropout}
    fields = {"image_size": 32, "fusion_dropout": dropout, "frozen_vision_stages": 2}
    parts = parts_of(release, vision=vision, text_args=text_args, **fields)
    augmentation = Augmentation(crop_scale=(0.5, 1.0), rotation=10, color_jitter=0.2, random_erasing=0.3)
    collation = {"augmentation": augmentation, "image_dropout": 0.3, "finishes_pictures": finishes_pictures}
    options = {"num_train_epochs": 1, "per_device_train_batch_size": 16, "logging_steps": 1, **STEPS_ALONE, **options}
    model = make_model(parts).double()
    return small_trainer.losses_of(make_trainer(parts, folder, model, num_rows=None, collation=collation, **options))


def test_pictures_that_the_device_finishes_give_the_same_steps(small_release, tmp_path):
    found, expected = (losses_of(small_release, tmp_path, finishes_pictures=choice) for choice in (False, True))
    assert len(found) == 5
    assert found == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("vision", ["test_resnet", "test_vit"])
def test_all_techniques_and_none_give_the_same_steps(small_release, tmp_path, monkeypatch, vision):
    fast = losses_of(small_release, tmp_path, vision=vision, dropout=0.0)
    monkeypatch.setattr(towers_semart, "FirstTokenBlock", lambda block, config: block)
    monkeypatch.setattr(towers_semart, "ClassTokenBlock", lambda block: block)
    monkeypatch.setattr(SemArtTrainer, "techniques", ())
    slow = losses_of(small_release, tmp_path, vision=vision, dropout=0.0, keep_freed_memory=False)
    assert len(slow) == 5
    assert fast == pytest.approx(slow, abs=ROUNDING)


PROCESS = """
import resource
import torch
from semart_hf.memory import freed_memory_kept

def faults(size=8, tensors=8):
    for _ in range(4 * tensors):  # the first ones make room
        torch.ones(size, 1024, 1024)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(tensors):
        torch.ones(size, 1024, 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
with freed_memory_kept():
    with freed_memory_kept():
        pass
    print(faults())
print(faults(64, 1))  # what was kept may lie below other memory, together, and serve tensors of no more than that
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these thresholds")
def test_large_tensors_are_not_paged_in_again():
    # A process of its own start: in a forked one after other tests, nothing was paged in from the first.
    done = subprocess.run([sys.executable, "-c", PROCESS], check=True, capture_output=True, text=True)
    usual, kept, undone = map(int, done.stdout.split())
    pages = 8 * 32 * 2**20 / resource.getpagesize()
    assert kept < 0.02 * pages
    if not usual:
        pytest.skip("here an allocation is not paged in again anyway")
    assert kept < undone / 10
    assert undone >= 0.9 * usual
