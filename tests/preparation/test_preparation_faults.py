import errno
import os
import shutil
import signal
import subprocess
import time
import zlib
from itertools import islice
from pathlib import Path
from unittest import mock

import datasets
import fsspec
import numpy as np
import pytest
from PIL import Image
from release_builder import contents, encoded, painting, problems_of, row, write_plain_release, write_release
from warm_python import Python, launched, run_python

from semart_hf.catalogue.catalogue import read_rows
from semart_hf.files import _acquired
from semart_hf.preparation import shards
from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings
from semart_hf.preparation.shards import Mirror

SMALL = PreparationOptions(image_size=48, min_label_count=2, rows_per_shard=8)

PREPARE = """
import os, sys
import datasets
from accelerate import PartialState
from semart_hf.catalogue.catalogue import read_rows
from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings
from semart_hf.preparation.shards import Mirror
datasets.config.HF_DATASETS_CACHE = sys.argv[3] + os.environ.get("RANK", "")  # as of two machines
options = PreparationOptions(image_size=48, min_label_count=2, rows_per_shard=8)
mirror = Mirror(sys.argv[2]) if "://" in sys.argv[2] else None
state = PartialState(cpu=True)
folder = mirror.folder if mirror else sys.argv[2]
prepare_paintings(read_rows(sys.argv[1]), folder, options, num_proc=int(sys.argv[4]), state=state, mirror=mirror)
if mirror and state.is_main_process:
    mirror.publish()
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults") / "release"
    names = [f"{index}.jpg" for index in range(160)]
    picture = encoded(painting(0, (900, 1100)))  # slow enough to be killed in the middle
    return write_release(folder, {"train": [row(name) for name in names]}, dict.fromkeys(names, picture))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, release):
    output = tmp_path_factory.mktemp("faults") / "whole"
    prepare_paintings(read_rows(release), output, SMALL, num_proc=1)
    return contents(output)


def test_a_killed_run_leaves_nothing_running_and_is_continued_to_the_same_bytes(release, whole, tmp_path, monkeypatch):
    output, work = tmp_path / "out", tmp_path / ".out.preparing"
    with Python("-c", PREPARE, release, output, tmp_path / "cache", 2, output=tmp_path / "log") as process:
        process.wait_until(lambda: len(list(work.glob("train-*.json"))) >= 4)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(process.pid, signal.SIGKILL)  # not its group
        process.process.join()
        assert len(children) == 2
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not output.exists()
    num_done = len(list(work.glob("train-*.json")))
    assert 4 <= num_done < 20
    written = []
    write_parquet = shards._write_parquet
    monkeypatch.setattr(
        shards, "_write_parquet", lambda path, *rest: (written.append(path.name), write_parquet(path, *rest))
    )
    prepare_paintings(read_rows(release), output, SMALL, num_proc=1)
    assert contents(output) == whole
    assert len(written) == 20 - num_done
    assert not work.exists()


@pytest.mark.parametrize("place", ["folder", "address"])
def test_processes_share_the_work_and_what_a_killed_one_left_is_done_by_the_others(release, whole, tmp_path, place):
    """Of two processes the second is killed, and the first ended as a launcher does; the same command goes on."""
    logs, output = tmp_path / "logs", tmp_path / "out"
    logs.mkdir()
    work = tmp_path / ("out.preparing" if place == "address" else ".out.preparing")
    words = ["-c", PREPARE, release, output.as_uri() if place == "address" else output, tmp_path / "cache", 1]
    first, second = launched(2)
    with (
        Python(*words, output=logs / "first", OMP_NUM_THREADS="1", **first) as one,
        Python(*words, output=logs / "second", OMP_NUM_THREADS="1", **second) as other,
    ):
        other.wait_until(lambda: len(list(work.glob("train-*.json"))) >= 4)
        other.signal(signal.SIGKILL)
        one.signal(signal.SIGKILL)
    assert not output.exists()
    done = {path.name: path.stat().st_mtime_ns for path in work.glob("train-*.json")}
    assert 4 <= len(done) < 20
    for folder in tmp_path.glob("cache0/semart_hf/mirrors/.*.preparing"):  # what was being fetched
        for name in done:
            (folder / name).write_text("{")
            (folder / name).with_suffix(".parquet").write_text("half")
    # Once more where the address was emptied: the first machine still has the dataset.
    for _ in range(2 if place == "address" else 1):
        run_python(*words, logs=logs, num_processes=2, OMP_NUM_THREADS="1")
        assert contents(output) == whole
        assert not work.exists()
        shutil.rmtree(tmp_path / "kept", ignore_errors=True)
        output.rename(tmp_path / "kept")
    (tmp_path / "kept").rename(output)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == ["out"]


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_a_publication_that_fails_midway_has_no_summary_and_is_made_whole_by_the_next(scheme, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    url = f"{scheme}://{tmp_path}/published"
    store, root = fsspec.core.url_to_fs(url)
    mirror = Mirror(url)
    prepare_paintings(read_rows(write_plain_release(tmp_path / "release")), mirror.folder, SMALL, num_proc=1)
    put, stored = type(store).put_file, []

    def failing(self, path, place, **options):
        if len(stored) == 2:
            raise OSError("the network is gone")
        stored.append(place)
        return put(self, path, place, **options)

    with monkeypatch.context() as broken:
        broken.setattr(type(store), "put_file", failing)
        with pytest.raises(OSError, match="the network is gone"):
            mirror.publish()
    assert store.exists(stored[0])
    assert not store.exists(f"{root}/summary.json")
    with store.open(f"{root}/of an earlier run", "wb") as file:
        file.write(b"1")
    Mirror(url).publish()
    expected = {path.relative_to(mirror.folder).as_posix() for path in mirror.folder.rglob("*") if path.is_file()}
    found = {path.removeprefix(str(root)).lstrip("/"): store.cat_file(path) for path in store.find(root)}
    assert found == {name: (mirror.folder / name).read_bytes() for name in expected}
    assert not store.exists(f"{root}.preparing")
    with pytest.raises(ValueError, match="where something lies already"):
        Mirror(url)


def test_changed_pictures_are_read_again(tmp_path):
    release = write_plain_release(tmp_path / "release")
    prepare_paintings(read_rows(release), tmp_path / "first", SMALL, num_proc=1)
    work = tmp_path / ".second.preparing"
    work.mkdir()
    interrupted = mock.patch("semart_hf.preparation.preparation.write_dataset", side_effect=KeyboardInterrupt)
    with interrupted, pytest.raises(KeyboardInterrupt):
        prepare_paintings(read_rows(release), tmp_path / "second", SMALL, num_proc=1)
    assert not (tmp_path / "second").exists()
    (release / "Images" / "test-0.jpg").write_bytes(encoded(painting(99)))
    prepare_paintings(read_rows(release), tmp_path / "second", SMALL, num_proc=1)
    first, second = contents(tmp_path / "first"), contents(tmp_path / "second")
    changed = {name for name in first if name.startswith("data/") and first[name] != second[name]}
    assert changed == {"data/test-00000-of-00001.parquet"}


def test_two_runs_do_not_write_the_same_dataset(release, tmp_path):
    refused = pytest.raises(ValueError, match=r"Another process is at work in .*/out: ")
    with _acquired(tmp_path / ".out.lock", tmp_path, 0), refused:
        prepare_paintings(read_rows(release), tmp_path / "out", SMALL, num_proc=1, wait=0.1)


def test_a_worker_that_dies_is_told(tmp_path, monkeypatch):
    release = write_plain_release(tmp_path / "release")
    monkeypatch.setattr(shards, "prepare_picture", lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(ChildProcessError, match=r"worker process that died.*run the same command again"):
        prepare_paintings(read_rows(release), tmp_path / "out", SMALL, num_proc=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("num_proc", [1, 2])
def test_a_full_disk(release, whole, tmp_path, num_proc):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        with pytest.raises(OSError, match=r"disk is full .* Make room and run the same command again") as caught:
            prepare_paintings(read_rows(release), disk / "out", SMALL, num_proc=num_proc)
        assert caught.value.errno == errno.ENOSPC
        assert not (disk / "out").exists()
        assert list((disk / ".out.preparing").glob("train-*.json"))
        assert not list((disk / ".out.preparing").glob("*.unfinished"))
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        prepare_paintings(read_rows(release), disk / "out", SMALL, num_proc=num_proc)
        assert contents(disk / "out") == whole
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # the error may still hold the file


def hostile_files() -> dict[str, tuple[bytes | None, str]]:
    """200 files by name, `None` for a directory, with the finding that each must give."""
    jpeg, png = encoded(painting(0, (200, 240))), encoded(painting(1, (120, 140)), "PNG")
    bomb = bytearray(encoded(Image.new("1", (1, 1)), "PNG"))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    frames = [Image.new("RGB", (50, 50), colour) for colour in ("red", "blue")]
    page = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    kinds = {
        "truncated": (lambda n: jpeg[: 700 + 40 * n], "truncated_picture"),
        "cut-png": (lambda n: png[: 300 + 20 * n], "truncated_picture"),
        "bomb": (lambda n: bytes(bomb) + bytes(n), "absurd_size"),
        "svg": (lambda n: b'<svg xmlns="http://www.w3.org/2000/svg"/>' + b" " * n, "not_a_picture"),
        "html": (lambda n: page + b" " * n, "not_a_picture"),
        "zeros": (lambda n: bytes(1000 + n), "not_a_picture"),
        "empty": (lambda n: b"", "not_a_picture"),
        "moving": (lambda n: encoded(frames[n % 2], "GIF", save_all=True, append_images=frames), "several_frames"),
        "strip": (lambda n: encoded(Image.new("L", (1, 20_000 + n)), "PNG"), "absurd_size"),
        "directory": (lambda n: None, "not_a_file"),
        "noise": (lambda n: np.random.default_rng(n).bytes(3000), "not_a_picture"),
    }
    numbered = ((number, kind) for number in range(200) for kind in kinds.items())
    return {f"{kind}-{number}.jpg": (make(number), fault) for number, (kind, (make, fault)) in islice(numbered, 200)}


def test_two_hundred_hostile_files(tmp_path):
    hostile = hostile_files()
    good = {f"good-{index}.jpg": encoded(painting(100 + index)) for index in range(20)}
    names = [name for pair in zip(list(hostile)[:20], good, strict=True) for name in pair] + list(hostile)[20:]
    pictures = {name: content for name, (content, _) in hostile.items() if content is not None}
    release = write_release(tmp_path / "release", {"train": [row(name) for name in names]}, {**pictures, **good})
    for name, (content, _) in hostile.items():
        if content is None:
            (release / "Images" / name).mkdir()
    summary = prepare_paintings(read_rows(release), tmp_path / "out", SMALL, num_proc=2, min_pictures=0)
    problems = problems_of(tmp_path / "out")
    found = [one for one in problems if one["action"] == "kept as text" or "frames" in one["problem"]]
    assert {one["image_file"]: one["problem"] for one in found} == {name: kind for name, (_, kind) in hostile.items()}
    assert summary["rows"]["train"]["kept"] == 220
    num_moving = sum(expected == "several_frames" for _, expected in hostile.values())
    assert summary["rows"]["train"]["with_picture"] == 20 + num_moving
    split = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert split["image_file"] == names
    pictured = {row["image_file"] for row in split if row["image"] is not None}
    assert set(good) <= pictured
