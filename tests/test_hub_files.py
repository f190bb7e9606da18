"""The files of semart_hf/model are copied to the Hub one by one, without the package: these are the rules for them.

The Hub's loader finds what a file needs by a regular expression over its text (relative imports) and by walking its
syntax tree (packages). It copies the files flat. What it overlooks is missing at the reader's; what it sees by mistake
crashes there.
"""

import ast
import re
import sys
from pathlib import Path

import pytest
from transformers import dynamic_module_utils as loader

MODEL = Path(__file__).resolve().parents[1] / "semart_hf" / "model"
FILES = sorted(MODEL.glob("*.py"))
SIBLINGS = {path.stem for path in FILES} - {"__init__"}
THIRD_PARTY = {"torch", "torchvision", "transformers", "timm", "PIL", "numpy", "safetensors", "huggingface_hub"}
LOOKS_LIKE_A_RELATIVE_IMPORT = re.compile(r"^\s*(from\s+\.|import\s+\.)")


def broken_rules(source: str, siblings: set[str] = SIBLINGS) -> list[str]:
    """What would go wrong with this file on its way through the Hub, one sentence each with its line."""
    tree = ast.parse(source)
    problems = []
    import_lines = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            import_lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            if node not in tree.body or node.col_offset:
                problems.append(f"line {node.lineno}: an import that is not at the top level of the file")
            problems += [f"line {node.lineno}: {problem}" for problem in _broken_import(node, siblings)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            problems.append(f"line {node.lineno}: an import by a call")
    problems += [
        f"line {number}: text that the loader takes for a relative import"
        for number, line in enumerate(source.splitlines(), start=1)
        if number not in import_lines and LOOKS_LIKE_A_RELATIVE_IMPORT.match(line)
    ]
    return problems


def _broken_import(node: ast.Import | ast.ImportFrom, siblings: set[str]) -> list[str]:
    if isinstance(node, ast.ImportFrom) and node.level:
        if node.level > 1:
            return ["an import from above the folder"]
        if node.module is None:
            return ["`from . import name` is passed over by the loader; write `from .file import name`"]
        if node.module not in siblings:
            return [f"{node.module} is no file beside this one"]
        return ["`import *`"] if node.names[0].name == "*" else []
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    allowed = THIRD_PARTY | sys.stdlib_module_names
    return [f"{name} is not among {sorted(THIRD_PARTY)}" for name in names if name.split(".")[0] not in allowed]


def imports_of(source: str) -> tuple[set[str], set[str]]:
    packages: set[str] = set()
    siblings: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            (siblings if node.level else packages).add((node.module or "").split(".")[0])
    return packages, siblings


def names_the_scanner_sees_otherwise(path: Path) -> set[str]:
    """Packages and files that only one of the loader's own scanner and the syntax tree finds."""
    packages, siblings = imports_of(path.read_text(encoding="utf-8"))
    return (set(loader.get_imports(path)) ^ packages) | (set(loader.get_relative_imports(path)) ^ siblings)


def test_the_folder_is_flat():
    assert FILES
    assert not [path for path in MODEL.iterdir() if path.is_dir() and path.name != "__pycache__"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_keeps_the_rules_and_the_loader_finds_all_that_it_needs(path):
    source = path.read_text(encoding="utf-8")
    needed = [Path(file) for file in loader.get_relative_import_files(path)]
    assert broken_rules(source) == []
    assert names_the_scanner_sees_otherwise(path) == set()
    assert set(loader.check_imports(path)) == imports_of(source)[1]
    assert all(file.parent == MODEL and file.is_file() for file in needed)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("from . import towers", "passed over by the loader"),
        ("from ..data.release import read_release", "from above the folder"),
        ("from .absent import build", "absent is no file beside this one"),
        ("from .towers import *", "`import *`"),
        ("from semart_hf.model.towers import build", "semart_hf.model.towers is not among"),
        ("import os, sklearn.metrics", "sklearn.metrics is not among"),
        ("def f():\n    from .towers import build", "line 2: an import that is not at the top level"),
        ("try:\n    import timm\nexcept ImportError:\n    timm = None", "not at the top level"),
        ("if TYPE_CHECKING:\n    from .towers import build", "not at the top level"),
        ("importlib.import_module('timm')", "an import by a call"),
        ('"""Vectors\n\n    from .one tower import heat\n"""', "line 3: text that the loader takes"),
        ('TEXT = """\nimport .towers\n"""', "line 2: text that the loader takes"),
    ],
)
def test_a_bad_file_is_found(line, message):
    problems = broken_rules(line, {"towers"})
    assert any(message in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from . import towers", {""}),
        ("try:\n    import timm\nexcept ImportError:\n    timm = None", {"timm"}),
        ('"""Never write\nfrom .heads import Head\n"""', {"heads"}),
        ("import os; from .towers import build", {"towers"}),
    ],
)
def test_a_file_that_the_scanner_sees_otherwise_is_found(tmp_path, source, names):
    path = tmp_path / "bad.py"
    path.write_text(source, encoding="utf-8")
    assert names_the_scanner_sees_otherwise(path) == names
