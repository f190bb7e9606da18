"""What README.md says works: its Python runs, and the make targets that it names exist (see test_docs.py too).

Its ```python blocks run in their order as one program, in a folder in which `outputs/demo` is what `make demo` leaves,
only tiny: an untrained model in `outputs/demo/model` and a few paintings in `outputs/demo/release`. Pictures that the
README names there exist whatever their number. A block that needs more than that is marked ```python no-test.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from transformers import DistilBertConfig

from semart_hf.data.tokenizer import learn_tokenizer
from semart_hf.miniature.miniature import paint_miniature
from semart_hf.model.image_processing_semart import SemArtImageProcessor
from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.processing_semart import SemArtProcessor
from semart_hf.publishing.repository import write_repository

CHECKOUT = Path(__file__).resolve().parents[1]
README = CHECKOUT / "README.md"
TASKS = [
    {"name": "type", "labels": ["portrait", "landscape", "religious", "UNK"]},
    {"name": "school", "labels": ["Italian", "Dutch", "French", "UNK"]},
    {"name": "timeframe", "labels": ["1501-1550", "1551-1600", "1601-1650", "UNK"]},
    {"name": "medium", "labels": ["canvas", "wood", "wall", "UNK"]},
]

needs_readme = pytest.mark.skipif(not README.is_file(), reason="no README.md")


def python_blocks(markdown: str) -> list[str]:
    """The Python of the blocks that are marked ```python and nothing else."""
    return re.findall(r"^```python[ ]*\n(.*?)^```[ ]*$", markdown, flags=re.MULTILINE | re.DOTALL)


def make_targets(markdown: str) -> set[str]:
    """The targets of the make commands in code."""
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", markdown, flags=re.DOTALL))
    return set(re.findall(r"\bmake ([a-z]+)", code))


def named_pictures(markdown: str) -> set[str]:
    """The pictures of the demo's release that the text names."""
    return set(re.findall(r"outputs/demo/release/Images/([\w.-]+\.\w+)", markdown))


@pytest.fixture
def demo_folder(tmp_path):
    """A folder with `outputs/demo/model` and `outputs/demo/release`, tiny."""
    demo = tmp_path / "outputs" / "demo"
    release = paint_miniature(demo / "release", num_train=1, num_val=1, num_test=3)
    tokenizer = learn_tokenizer(["the banks of a river at dusk", "a saint with a book"], vocab_size=200)
    text = DistilBertConfig(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, dim=32, n_layers=2, n_heads=4, hidden_dim=64
    )
    model = SemArtForArtClassification.from_towers(
        "test_resnet", text, TASKS, pretrained=False, image_size=64, fusion_dim=32
    )
    tokenizer.model_max_length = 64
    image_processor = SemArtImageProcessor.from_timm(timm.get_pretrained_cfg("test_resnet").to_dict(), 64)
    write_repository(model, SemArtProcessor(image_processor, tokenizer), demo / "model")

    some_picture = next((release / "Images").iterdir())
    for name in named_pictures(README.read_text(encoding="utf-8")):
        if not (release / "Images" / name).exists():
            shutil.copy(some_picture, release / "Images" / name)
    return tmp_path


@needs_readme
def test_the_python_runs(demo_folder):
    program = "\n".join(python_blocks(README.read_text(encoding="utf-8")))
    (demo_folder / "readme.py").write_text(program, encoding="utf-8")

    ran = subprocess.run(
        [sys.executable, "readme.py"], cwd=demo_folder, capture_output=True, text=True, check=False, timeout=300
    )

    assert ran.returncode == 0, ran.stderr
    for task in TASKS:
        assert task["name"] in ran.stdout, f"the README's program does not show the {task['name']}:\n{ran.stdout}"


@needs_readme
def test_every_make_target_that_it_names_exists():
    targets = set(re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = make_targets(README.read_text(encoding="utf-8"))

    assert {"demo", "test"} <= named
    assert named <= targets


SAMPLE = """# A title

Run `make demo`, which calls `scripts/train.py` with semart_hf/recipes/*.yaml. See [the licence](LICENSE) and
[elsewhere](https://example.org/semart_hf/none.py). To make sense, read on.

```python
print(1)
```

```python no-test
print(2)
```

```bash
make test
```

```python
open("outputs/demo/release/Images/test_0001.jpg")
```
"""


def test_what_a_readme_names_is_found():
    assert python_blocks(SAMPLE) == ["print(1)\n", 'open("outputs/demo/release/Images/test_0001.jpg")\n']
    assert make_targets(SAMPLE) == {"demo", "test"}
    assert named_pictures(SAMPLE) == {"test_0001.jpg"}
