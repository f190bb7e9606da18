import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from semart_hf import files

# The file alone: importing the package takes seconds.
HOLD = """
import runpy, sys
with runpy.run_path(sys.argv[1])["locked"](sys.argv[2], "training"):
    print("held", flush=True)
    input()
"""


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_files_and_folders_appear_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new folder" / "results.json"
    files.write_json(path, {"a": "é"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": float("nan")})
    with pytest.raises(UnicodeEncodeError), files.atomic_file(path) as unfinished:
        unfinished.write_text("half \ud800", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == '{\n  "a": "é"\n}\n'
    assert hidden(path.parent) == []
    with files.atomic_folder(tmp_path / "out") as unfinished:
        (unfinished / "a").write_text("1")
    with pytest.raises(ValueError, match="not empty"), files.atomic_folder(tmp_path / "out"):
        pass
    with pytest.raises(KeyError), files.atomic_folder(tmp_path / "out", replace=True) as unfinished:
        raise KeyError
    assert (tmp_path / "out" / "a").read_text() == "1"
    with files.atomic_folder(tmp_path / "out", replace=True) as unfinished:
        (unfinished / "b").write_text("2")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]
    assert hidden(tmp_path) == []


def test_what_was_in_a_folder_outlives_a_failed_replacement(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    rename = Path.rename

    def fails(self, target):
        if self.name == "new":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no"), files.output_folder(folder, ["*.txt"], "list") as unfinished:
        (unfinished / "new.txt").write_text("new")
    monkeypatch.undo()
    assert [path.name for path in folder.iterdir()] == ["old.txt"]
    refused = pytest.raises(ValueError, match=r"holds notes\.md\. Only an earlier list")
    with refused, files.output_folder(folder, ["*.txt"], "list"):
        (folder / "notes.md").write_text("put there meanwhile")
    assert sorted(path.name for path in folder.iterdir()) == ["notes.md", "old.txt"]
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(ValueError, match="a mounted volume"), files.atomic_folder(folder, replace=True):
        pass


def test_a_lock_names_its_owner_and_is_free_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.1)
    command = [sys.executable, "-c", HOLD, files.__file__, tmp_path / "run"]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        owner = rf"training, process {other.pid} on .*, started \d{{4}}-"
        with pytest.raises(ValueError, match=owner), files.locked(tmp_path / "run", "training"):
            pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with files.locked(tmp_path / "run", "training"):
        pass
    assert hidden(tmp_path) == []


def test_a_full_disk_is_explained_and_other_errors_stay(tmp_path):
    explained = files.full_disk_explained(tmp_path, "Make room.")
    with pytest.raises(OSError, match=r"disk is full .* Make room\."), explained:
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError), files.full_disk_explained(tmp_path, "Make room."):
        raise FileNotFoundError
