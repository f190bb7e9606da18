import pytest

from semart_hf.data.addresses import shards_at, url_of


@pytest.mark.parametrize(
    ("data", "url"), [("someone/paintings", "hf://datasets/someone/paintings"), ("s3://a/b", "s3://a/b")]
)
def test_names_on_the_hub_become_urls(data, url):
    assert url_of(data) == url


def test_folders_stay(tmp_path, monkeypatch):
    assert url_of("/nowhere/here") == "/nowhere/here"
    assert url_of("./nowhere/here") == "./nowhere/here"
    (tmp_path / "some" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert url_of("some/folder") == "some/folder"


def test_shards_come_by_split_in_their_order(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("train-00001-of-00002", "train-00000-of-00002", "test-00000-of-00001"):
        (tmp_path / "data" / f"{name}.parquet").touch()
    found = shards_at(str(tmp_path), ["train", "validation", "test"])
    assert {split: [url.rsplit("/", 1)[1] for url in urls] for split, urls in found.items()} == {
        "train": ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
        "test": ["test-00000-of-00001.parquet"],
    }
