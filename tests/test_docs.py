"""What README.md and docs/ say works: every command and all Python is run, tiny, and every file and target exists.

The commands of a page run in their order in one folder, in which `data/` and `MODEL` are what it supposes, but tiny.
Trainings get TOWERS appended, which replaces towers of the Hub by ones from scratch, and TINY, which is one step.
"""

import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image
from tiny_release import save_tiny_model, tiny_parts
from warm_python import run_python

from semart_hf.catalogue.schema import SEMART_TASKS
from semart_hf.cli.__main__ import COMMANDS
from semart_hf.data.loading import load_paintings
from semart_hf.model.pipeline_semart import save_repository

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
TASKS = [task.name for task in SEMART_TASKS]
SCRIPTS = {"train.py": "train", "evaluate_model.py": "evaluate", "prepare_data.py": "prepare", "predict.py": "predict"}
# Commands that take a server, a Hub, several processes or hours, and the test that runs each.
RUN_ELSEWHERE = {
    r"^make (\w+)": ".ci/run",
    r"^pip install ": "tests/test_wheel.py",
    r"^accelerate launch --config_file semart_hf/recipes/accelerate/\w+\.yaml": "tests/training/test_processes.py",
    r"^semart-hf push .*--push": "tests/hub/test_hub_push.py",
    r"^semart-hf push ": "tests/publishing/test_push_to_hub.py",
    r"^semart-hf audit ": "tests/cli/test_audit.py",
    r"^semart-hf train .*--decisions": "tests/cli/test_decisions.py",
    r"^semart-hf export ": "tests/publishing/test_onnx.py",
    r"^(semart-hf (index|search)|accelerate launch -m semart_hf.cli.index) ": "tests/cli/test_search.py",
    r"^accelerate launch --num_machines .* -m semart_hf.cli.prepare ": "tests/preparation/test_preparation_faults.py",
    r"^accelerate launch --num_machines .* -m semart_hf.cli.predict ": "tests/cli/test_predict_catalogue.py",
    r"^semart-hf app .*--index": "tests/cli/test_search_page.py",
    r"^(curl |semart-hf app .*--catalogue)": "tests/cli/test_review_page.py",
    r"^semart-hf app ": "tests/publishing/test_space.py",
    r"^semart-hf tune ": "tests/cli/test_tune.py",
    r"^semart-hf compare ": "tests/cli/test_compare.py",
    r"^python scripts/prove\.py ": "tests/scripts/test_prove.py",
    r"^python scripts/benchmark\.py ": "tests/scripts/test_benchmark.py",
}
TEXT_ARGS = '{"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64}'
TOWERS = ["--vision", "test_resnet", "--text", "null", "--text_args", TEXT_ARGS, "--pretrained", "false"]
TINY = ["--image_size", "32", "--max_steps", "1", "--frozen_vision_stages", "1", "--precision", "fp32"]
TINY += ["--dataloader_num_workers", "0", "--disable_tqdm", "true", "--min_label_count", "3", "--vocab_size", "200"]


def commands_of(markdown: str) -> list[str]:
    code = "\n".join(re.findall(r"^```bash\n(.*?)^```", markdown, flags=re.MULTILINE | re.DOTALL))
    lines = re.sub(r"\\\n\s*", "", code).splitlines()
    found = [line.strip() for line in (re.sub(r"\s+#.*", "", line) for line in lines) if line.strip()]
    assert found or "```bash" not in markdown
    return found


def command_and_words(line: str) -> tuple[str, list[str]]:
    """The module of semart_hf.cli that a line runs, and its arguments."""
    words = shlex.split(line)
    if words[:2] == ["accelerate", "launch"]:
        words = words[2:]
    if words[0] == "semart-hf":
        return words[1], words[2:]
    if words[0] == "python":
        words = words[1:]
    return SCRIPTS[Path(words[0]).name], words[1:]


@pytest.fixture
def folder(tmp_path, small_release, monkeypatch):
    shutil.copytree(small_release, tmp_path / "data" / "SemArt")
    train = load_paintings(small_release, min_label_count=1)["train"]
    tasks = [{"name": task, "labels": [*train.features[task].names]} for task in TASKS]
    save_tiny_model(tmp_path / "MODEL", tasks)
    save_repository(*tiny_parts(tasks), tmp_path / "outputs" / "demo" / "model")
    (tmp_path / "DATA").symlink_to(tmp_path / "data" / "SemArt")
    (tmp_path / "outputs" / "demo" / "release").symlink_to(tmp_path / "data" / "SemArt")
    for name in ("openaccess", "my_museum"):
        write_catalogue(tmp_path / "data" / name, "Images" if name == "openaccess" else "Photos")
    shutil.copy(next((small_release / "Images").iterdir()), tmp_path / "a_picture.jpg")
    (tmp_path / "data" / "scans").symlink_to(tmp_path / "data" / "SemArt" / "Images")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_catalogue(folder, pictures):
    """A catalogue in the Met's columns, or in those of the page on one's own catalogue."""
    (folder / pictures).mkdir(parents=True)
    rows = []
    for number in range(30):
        Image.new("RGB", (24, 20), (8 * number, 90, 120)).save(folder / pictures / f"{number}.jpg")
        varying = (("Oil on canvas", "1650", "Italy"), ("Oil on panel", "1720", "Netherlands"))[number % 2]
        rows.append((number, "Paintings", "A view", "Vermeer", *varying, "Portraits"))
    if pictures == "Images":
        header = "Object ID,Classification,Title,Artist Display Name,Medium,Object Date,Culture,Tags,"
        header += "Artist Alpha Sort,Object Begin Date,Object End Date,Artist Nationality,Link Resource"
        text = "\n".join([header, *(",".join(map(str, row)) + "," * 5 for row in rows)])
        (folder / "MetObjects.csv").write_text(text + "\n", encoding="utf-8")
    else:
        header = "Inventory;Classification;Title;Artist;Medium;Date;Country;Text"
        text = "\n".join([header, *(";".join(map(str, row)) for row in rows)])
        (folder / "paintings.csv").write_text(text + "\n", encoding="cp1252")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_of_a_page_runs(page, folder, capsys):
    markdown = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```yaml\n# (\w+\.yaml)\n(.*?)^```", markdown, flags=re.MULTILINE | re.DOTALL):
        (folder / block[0]).write_text(block[1], encoding="utf-8")
    for line in commands_of(markdown):
        if test := next((test for pattern, test in RUN_ELSEWHERE.items() if re.match(pattern, line)), None):
            assert (CHECKOUT / test).is_file(), f"{line!r} is to be run by {test}"
            continue
        if line.startswith("awk "):
            subprocess.run(["bash", "-c", line], check=True)
            continue
        command, words = command_and_words(line)
        assert command in COMMANDS, line
        if "--compare" in words:
            shutil.copytree(folder / "OUT", folder / "OTHER_OUT")
        if command == "train":
            data = [] if "--data" in words else ["--data", "data/SemArt"]
            words = [*words, *([] if "--init_from" in words else TOWERS), *TINY, *data]
        shutil.rmtree(folder / "OUT", ignore_errors=True)
        importlib.import_module(f"semart_hf.cli.{command}").main(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_file_that_a_page_names_exists(page):
    markdown = page.read_text(encoding="utf-8")
    named = re.findall(r"(?<![\w/.])(?:scripts|semart_hf|tests|model_cards|docs|\.ci)/[\w./*-]*", markdown)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", markdown) if "://" not in link]
    missing = [path for path in {name.rstrip(".") for name in named} if not list(CHECKOUT.glob(path))]
    missing += [link for link in links if not (page.parent / link).exists()]
    assert [path for path in missing if "NAME" not in path] == []


def test_every_page_is_reached_from_the_readme_and_its_yaml_is_yaml():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [page.name for page in PAGES[1:] if f"{page.name})" not in text] == []
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S):
            assert isinstance(yaml.safe_load(block), dict)


def test_the_python_of_the_readme_runs_as_one_program(folder):
    markdown = PAGES[0].read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"^```python[ ]*\n(.*?)^```[ ]*$", markdown, flags=re.MULTILINE | re.DOTALL))
    for name in re.findall(r"outputs/demo/release/Images/([\w.-]+\.\w+)", program):
        shutil.copy(folder / "a_picture.jpg", folder / "outputs/demo/release/Images" / name)
    ran = run_python("-c", program, logs=folder, folder=folder)
    assert all(task in ran.stdout for task in TASKS), ran.stdout
