"""Without a value for `trust_remote_code`, transformers asks on the terminal and waits: our code gives one always."""

import ast
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(CHECKOUT / "semart_hf").rglob("*.py"), *(CHECKOUT / "scripts").glob("*.py")])


def calls_without_trust(source: str) -> list[int]:
    """Lines that load by an Auto class or by `pipeline`, and leave the question of trust open."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        words = ast.unparse(call.func).split(".")
        loads = words[-1] == "pipeline" or (words[-1] == "from_pretrained" and words[0].startswith("Auto"))
        if loads and not {"trust_remote_code", None} & {keyword.arg for keyword in call.keywords}:
            found.append(call.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_loading_says_whether_remote_code_is_trusted(path):
    assert calls_without_trust(path.read_text(encoding="utf-8")) == []


def test_loading_that_does_not_say_it_is_found():
    source = """
model = AutoModel.from_pretrained(folder)
classify = transformers.pipeline("art-classification", model=folder)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
classify = pipeline("art-classification", **options)
tower = SemArtForArtClassification.from_pretrained(folder)
"""
    assert calls_without_trust(source) == [2, 3]
