import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "semart_hf"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("setuptools", reason="no setuptools, which builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves folders behind
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    shutil.copytree(PACKAGE, source / "semart_hf", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, cwd=folder)
    return next(folder.glob("*.whl"))


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    there = {path.relative_to(CHECKOUT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("semart_hf/")}
    assert packed == {name for name in there if "__pycache__" not in name}


def test_commands_run_and_find_recipes_where_there_is_no_checkout(wheel, tmp_path):
    site, folder = tmp_path / "site", tmp_path / "empty"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> str:
        options = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
        done = subprocess.run([sys.executable, *words], check=False, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-m", "semart_hf.cli", "train", "miniature", "--help").startswith("usage: semart-hf train ")
    shown = run(
        "-c",
        """
import semart_hf
from semart_hf.cli import miniature, prepare
from semart_hf.recipes.recipe import read_recipe
print(semart_hf.__file__, read_recipe("miniature"))
miniature.main("demo --num_train 30 --num_val 4 --num_test 4 --workers 1".split())
prepare.main("--release demo --output_dir prepared --image_size 32 --num_proc 1".split())
""",
    )
    assert shown.startswith(str(site))
    assert all(word in shown for word in ("'vision':", "30/4/4 paintings; ceilings", "load_dataset('prepared')"))
    assert "license" in (folder / "prepared" / "README.md").read_text()
