from itertools import pairwise

import fsspec
import pytest
from release_builder import prepare_stream
from torch.utils.data import DataLoader

from semart_hf.data.sampling import DRAW_KEY
from semart_hf.data.streaming import PaintingStream, shards_at, url_of

NUM_ROWS = 203


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """203 rows in shards of 10 and groups of 6 and 4."""
    return prepare_stream(tmp_path_factory.mktemp("streaming"), NUM_ROWS, image_size=16, rows_per_shard=10)


def stream_of(prepared, epoch=0, process_index=0, num_processes=1, **arguments) -> PaintingStream:
    whole = PaintingStream(prepared, **{"buffer_size": 8, **arguments})
    stream = whole.divided(batch_size=4, process_index=process_index, num_processes=num_processes)
    stream.set_epoch(epoch)
    return stream


def indices(rows) -> list[int]:
    return [row[DRAW_KEY][2] for row in rows]


def epoch_of(prepared, epoch: int, num_processes: int, num_workers: int, **arguments) -> list[list[int]]:
    rows = []
    for process in range(num_processes):
        stream = stream_of(prepared, epoch, process, num_processes, **arguments)
        loader = DataLoader(stream, batch_size=4, num_workers=num_workers, collate_fn=indices)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert all(len(batch) == 4 for batch in batches[:-1])
        rows.append([index for batch in batches for index in batch])
    return rows


@pytest.mark.parametrize(("num_processes", "num_workers"), [(1, 0), (2, 0), (3, 2), (5, 1)])
def test_no_row_comes_twice_and_all_processes_get_equally_many(prepared, num_processes, num_workers):
    by_process = epoch_of(prepared, 0, num_processes, num_workers)
    assert [len(rows) for rows in by_process] == [NUM_ROWS // num_processes] * num_processes
    rows = [row for of_process in by_process for row in of_process]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(NUM_ROWS))


def test_rows_are_mixed_and_order_depends_on_seed_and_epoch_alone(prepared):
    first = epoch_of(prepared, 1, 2, 0)
    assert first == epoch_of(prepared, 1, 2, 0)
    assert first not in (epoch_of(prepared, 2, 2, 0), epoch_of(prepared, 1, 2, 0, seed=7))
    seen = [{row for rows in epoch_of(prepared, epoch, 5, 0) for row in rows} for epoch in range(6)]
    assert all(len(rows) == NUM_ROWS - NUM_ROWS % 5 for rows in seen)
    assert len(set.intersection(*seen)) < NUM_ROWS - 3
    mixed, unmixed = (epoch_of(prepared, 0, 1, 0, buffer_size=size)[0] for size in (64, 1))
    assert sum(abs(first - second) == 1 for first, second in pairwise(mixed)) < 20
    # 21 files of two groups each.
    assert sum(second - first == 1 for first, second in pairwise(unmixed)) >= NUM_ROWS - 2 * 21


@pytest.mark.parametrize("epoch_length", [40, 203, 500])
def test_an_epoch_has_the_stated_length(prepared, epoch_length):
    by_process = epoch_of(prepared, 0, 2, 0, epoch_length=epoch_length)
    assert [len(rows) for rows in by_process] == [epoch_length // 2] * 2
    rows = [row for of_process in by_process for row in of_process]
    most = max(rows.count(row) for row in set(rows))
    assert most <= -(-epoch_length // NUM_ROWS)
    draws = [row[DRAW_KEY] for epoch in (0, 1) for row in stream_of(prepared, epoch, epoch_length=epoch_length)]
    assert len({*draws}) == 2 * epoch_length


def test_rows_and_columns_are_what_the_collator_takes(prepared):
    stream = stream_of(prepared)
    row = next(iter(stream))
    index = row[DRAW_KEY][2]
    assert row[DRAW_KEY] == (0, 0, index)
    assert row["text"] == f"This is train-{index}.jpg."
    assert row["image"]["path"] == f"train-{index}.jpg"
    assert row["image"]["bytes"][:2] == b"\xff\xd8"
    assert row["type"] == ("portrait" if index % 2 else "landscape")
    assert set(row) == {"image", "text", "type", "school", "timeframe", "medium", DRAW_KEY}
    assert list(stream.column("type")) == ["landscape", "portrait"] * 101 + ["landscape"]
    assert list(stream.column("text"))[:2] == ["This is train-0.jpg.", "This is train-1.jpg."]
    stream = stream_of(prepared, text_columns="{TITLE} ({DATE})")
    assert list(stream.column("text"))[1] == "Portrait train-1.jpg (1630)"
    row = next(iter(stream))
    assert row["text"] == f"Portrait train-{row[DRAW_KEY][2]}.jpg (1630)"


def test_a_divided_stream_leaves_the_whole_one_as_it_is_and_what_cannot_be_streamed_is_refused(prepared):
    whole = PaintingStream(prepared)
    part = whole.divided(batch_size=2, process_index=1, num_processes=3)
    part.set_epoch(4)
    assert (len(part), len(whole)) == (NUM_ROWS // 3, NUM_ROWS)
    assert {row[DRAW_KEY][1] for row in part} == {4}
    assert {row[DRAW_KEY][1] for row in whole} == {0}
    fsspec.filesystem("memory").put(str(prepared), "/paintings", recursive=True)
    assert sorted(indices(PaintingStream("memory://paintings", "validation"))) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"where no data/dev-\*\.parquet is.*choose another split"):
        stream_of(prepared, split="dev")
    with pytest.raises(ValueError, match=r"Got the column 'style', but the shards have .*Choose among them"):
        list(stream_of(prepared).column("style"))
    with pytest.raises(ValueError, match=r"epoch of 3 rows for 4 processes. Raise epoch_length"):
        stream_of(prepared, epoch_length=3, num_processes=4)


def test_names_on_the_hub_become_urls_and_folders_stay(tmp_path, monkeypatch):
    (tmp_path / "some" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert url_of("someone/paintings") == "hf://datasets/someone/paintings"
    for data in ("s3://a/b", "/nowhere/here", "./nowhere/here", "some/folder"):
        assert url_of(data) == data
    folder = tmp_path / "a [b] *"
    (folder / "data").mkdir(parents=True)
    for name in ("train-00001-of-00002", "train-00000-of-00002", "test-00000-of-00001"):
        (folder / "data" / f"{name}.parquet").touch()
    found = shards_at(str(folder), ["train", "validation", "test"])
    names = {split: [url.rsplit("/", 1)[1][:11] for url in urls] for split, urls in found.items()}
    assert names == {"train": ["train-00000", "train-00001"], "test": ["test-00000-"]}
