"""Texts that lie on disk are those that were given, each once."""

import errno

import numpy as np
import pytest

from semart_hf.data import stored_texts
from semart_hf.data.stored_texts import StoredTexts, digest_of


def test_each_text_comes_once_and_as_it_was():
    texts = StoredTexts(["A mill", None, "Zwölf Mühlen ☀", " ", "A mill", "", "half a pair \ud83d"])
    assert list(texts) == ["A mill", "Zwölf Mühlen ☀", "half a pair \ud83d"]
    assert texts[1:] == ["Zwölf Mühlen ☀", "half a pair \ud83d"]
    assert texts[-1] == "half a pair \ud83d"
    assert texts.digests == [digest_of(text) for text in texts]
    with pytest.raises(IndexError):
        texts[3]


def test_another_order_leaves_the_first_as_it_is():
    texts = StoredTexts(["a", "bb", "ccc"])
    turned = texts.in_order(np.array([2, 0, 1]))
    assert list(turned) == ["ccc", "a", "bb"]
    assert turned.digests == [digest_of(text) for text in turned]
    assert list(texts) == ["a", "bb", "ccc"]


def test_no_text_at_all():
    texts = StoredTexts([None, ""])
    assert len(texts) == 0
    assert list(texts) == texts.digests == []
    assert list(texts.in_order(np.zeros(0, dtype=np.int64))) == []


def test_a_full_disk_is_named(monkeypatch):
    class FullFile:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stored_texts.tempfile, "TemporaryFile", lambda **_: FullFile())
    with pytest.raises(OSError, match=r"The disk is full .*TMPDIR") as raised:
        StoredTexts(["a"])
    assert raised.value.errno == errno.ENOSPC
