import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "semart_hf"
SCRIPTS = CHECKOUT / "scripts"

# What each room may import besides itself.
MAY_IMPORT = {
    "model": (),
    "catalogue": (),
    "miniature": ("semart_hf.catalogue",),
    "preparation": ("semart_hf.catalogue", "semart_hf.model"),
    "data": ("semart_hf.catalogue", "semart_hf.model", "semart_hf.preparation"),
    "evaluation": ("semart_hf.catalogue", "semart_hf.data", "semart_hf.model"),
    "documents": ("semart_hf.catalogue", "semart_hf.data", "semart_hf.evaluation", "semart_hf.model"),
    "recipes": ("semart_hf.data",),
    "training": (
        "semart_hf.catalogue",
        "semart_hf.data",
        "semart_hf.documents",
        "semart_hf.evaluation",
        "semart_hf.model",
        "semart_hf.preparation",
        "semart_hf.publishing.pushing",
        "semart_hf.recipes",
    ),
    "collection": ("semart_hf.catalogue", "semart_hf.data", "semart_hf.documents", "semart_hf.model"),
    "publishing": ("semart_hf.documents", "semart_hf.evaluation", "semart_hf.model"),
    "search": ("semart_hf.catalogue", "semart_hf.collection", "semart_hf.documents", "semart_hf.model"),
    "cli": ("semart_hf",),
}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "constants", "misc", "legacy", "v2"}
MOST_LINES = 400
MOST_PUBLIC_NAMES = 9
NOT_NEEDED_TO_LOAD_A_MODEL = ("datasets", "pandas", "pyarrow", "matplotlib", "sklearn", "evaluate", "scipy.stats")


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def dotted_name(path: Path) -> str:
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted_name(path) for path in python_files(PACKAGE)}


def imported_modules(source: str, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Every module that the source imports, wherever in the file, with relative names resolved."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -(node.level - is_package) or None] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                # `from semart_hf.data import text` imports a module, `from semart_hf.data.text import f` a name.
                name = f"{origin}.{alias.name}"
                yield name if name in MODULES or origin == "semart_hf" else origin
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))


def upward_imports(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """The modules of the package that the given module of a room may not import."""
    room = module.split(".")[1]
    allowed = (f"semart_hf.{room}", *MAY_IMPORT[room])
    # The bare package is loaded before each of its modules: to ask it where it lies is no import of what is above.
    # Files are written, folders locked and extras imported by one mechanism for all rooms.
    harmless = () if room == "model" else ("semart_hf", "semart_hf.extras", "semart_hf.files", "semart_hf.memory")
    return [
        imported
        for imported in imported_modules(source, module, is_package=is_package)
        if imported.split(".")[0] in ("semart_hf", "scripts")
        and imported not in harmless
        and not any(imported == name or imported.startswith(f"{name}.") for name in allowed)
    ]


@pytest.mark.parametrize("path", python_files(*(PACKAGE / room for room in MAY_IMPORT)), ids=dotted_name)
def test_imports_run_down(path):
    found = upward_imports(path.read_text(encoding="utf-8"), dotted_name(path), is_package=path.name == "__init__.py")
    assert not found, f"its room may import {MAY_IMPORT[path.parent.name]}"


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("semart_hf.model.towers", "from ..catalogue.tables import typed_splits", ["semart_hf.catalogue.tables"]),
        ("semart_hf.catalogue.tables", "if TYPE_CHECKING:\n    from .. import evaluation", ["semart_hf.evaluation"]),
        ("semart_hf.catalogue.tables", "import_module('semart_hf.training.trainer')", ["semart_hf.training.trainer"]),
        ("semart_hf.catalogue.tables", "from semart_hf import SemArtConfig", ["semart_hf.SemArtConfig"]),
        ("semart_hf.model.towers", "import semart_hf", ["semart_hf"]),
        ("semart_hf.documents.report", "import scripts.train", ["scripts.train"]),
        ("semart_hf.training.trainer", "from ..evaluation.scores import score\nfrom .losses import focal", []),
    ],
)
def test_imports_that_run_up_are_found(module, source, found):
    assert upward_imports(source, module) == found


def test_scripts_do_not_import_each_other():
    scripts = {"scripts", *(path.stem for path in SCRIPTS.glob("*.py"))}
    imported = {path.name: imported_modules(path.read_text(encoding="utf-8"), "one") for path in python_files(SCRIPTS)}
    found = {name: [one for one in modules if one.split(".")[0] in scripts] for name, modules in imported.items()}
    assert not any(found.values()), found


def test_every_room_has_its_floor_and_every_file_a_name_and_few_lines():
    paths = [path.relative_to(CHECKOUT) for path in python_files(PACKAGE, SCRIPTS, CHECKOUT / "tests")]
    words = {path: {word for part in path.with_suffix("").parts for word in part.split("_")} for path in paths}
    assert [path for path in paths if words[path] & NAMES_THAT_SAY_NOTHING] == []
    assert [path for path in paths if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES] == []
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()} == set(MAY_IMPORT)


def test_importing_the_package_is_light():
    look = "import json, sys, semart_hf; print(json.dumps([semart_hf.__all__, list(sys.modules)]))"
    names, modules = json.loads(subprocess.check_output([sys.executable, "-c", look], cwd=CHECKOUT, timeout=120))
    assert 0 < len(names) <= MOST_PUBLIC_NAMES
    assert not set(NOT_NEEDED_TO_LOAD_A_MODEL) & set(modules)
