import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from semart_hf.cli.miniature import main
from semart_hf.miniature.miniature import paint_miniature, sample_paintings
from semart_hf.miniature.world import COUNTS, art_history, ceilings, with_long_tail


@pytest.fixture(scope="module")
def flat():
    return art_history()


@pytest.fixture(scope="module")
def tail(flat):
    return with_long_tail(flat)


def test_every_label_is_as_frequent_as_in_semart(tail):
    for axis, (task, labels) in enumerate(tail.labels.items()):
        shares = tail.prior.sum(axis=tuple(other for other in range(4) if other != axis))
        counts = np.array([COUNTS[task][label] for label in labels])
        assert shares == pytest.approx(counts / counts.sum(), abs=1e-8)
        assert len(labels) == len(COUNTS[task])


def test_labels_go_together_as_before(flat, tail):
    """Every odds ratio is kept: the new table is the old one times a factor for each label."""
    possible = flat.prior > 0
    assert (possible == (tail.prior > 0)).all()
    rest = np.where(possible, np.log(np.where(possible, tail.prior, 1) / np.where(possible, flat.prior, 1)), np.nan)
    for axis in [0, 1, 2, 3] * 200:  # taking one label's factor away at a time leaves nothing
        rest = rest - np.nanmean(rest, axis=tuple(other for other in range(4) if other != axis), keepdims=True)
    assert np.nanmax(np.abs(rest)) < 1e-6


def test_cues_stay_as_they_are_and_the_ceiling_leaves_room(flat, tail):
    assert tail.image is flat.image
    assert tail.text is flat.text
    reached = ceilings(tail, {})
    assert max(reached["image"]["mean"], reached["text"]["mean"]) + 0.05 < reached["image+text"]["mean"] < 0.97


def test_a_long_tail_is_painted_and_is_another_miniature(tail, tmp_path, monkeypatch, capsys):
    plain = Image.new("RGB", (8, 8))
    monkeypatch.setattr("semart_hf.miniature.miniature.paint", lambda cues, rng: plain)
    sizes = {"num_train": 40, "num_val": 1, "num_test": 1}
    folder = paint_miniature(tmp_path / "tail", long_tail=True, **sizes)
    report = json.loads((folder / "ceiling.json").read_text(encoding="utf-8"))
    assert report["settings"]["long_tail"] is True
    train = (folder / "semart_train.csv").read_text(encoding="cp1252").splitlines()
    schools = Counter(painting.labels["school"] for painting in sample_paintings(tail, 0, 0, 40))
    assert Counter(line.split("\t")[-2] for line in train[1:]) == schools
    with pytest.raises(ValueError, match=r"holds a miniature with \{'long_tail': True\}"):
        paint_miniature(folder, **sizes)
    command = [f"--{name}={value}" for name, value in sizes.items()]
    main([str(folder), *command, "--long_tail", "--workers", "1"])
    assert "40/1/1 paintings" in capsys.readouterr().out
