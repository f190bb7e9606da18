import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHECKOUT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra]
# Extras that neither `make test` nor `make demo` installs: what tests them is skipped there.
NOT_INSTALLED = {Requirement(line).name for name in ("heif",) for line in PROJECT["optional-dependencies"][name]}
OWN_MODULES = {"semart_hf", "scripts", *(path.stem for path in (CHECKOUT / "scripts").iterdir())}
REQUIREMENTS = map(Requirement, [*PROJECT["dependencies"], *EXTRAS])
DIRECT = [requirement for requirement in REQUIREMENTS if requirement.name != PROJECT["name"]]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def read_constraints(python: str) -> dict[str, str]:
    """The pinned version of each package for one version of Python."""
    pinned: dict[str, str] = {}
    for line in (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        constraint = Requirement(line)
        if constraint.marker and not constraint.marker.evaluate({"python_version": python}):
            continue
        (specifier,) = constraint.specifier
        name = canonicalize_name(constraint.name)
        assert specifier.operator == "==", line
        assert name not in pinned, line
        pinned[name] = specifier.version
    return pinned


def imported_packages(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module.split(".")[0])
    return modules - sys.stdlib_module_names


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_to_a_version_that_is_allowed(python):
    pinned = read_constraints(python)
    assert [str(one) for one in DIRECT if pinned.get(canonicalize_name(one.name), "0") not in one.specifier] == []


def test_every_dependency_states_its_floor_which_is_reached_here_and_one_its_upper_bound():
    assert [str(one) for one in DIRECT if not re.fullmatch(r"(<5\.24,)?>=[\d.]+", str(one.specifier))] == []
    assert [one.name for one in DIRECT if "<" in str(one.specifier)] == ["transformers"]
    here = [one for one in DIRECT if one.name not in NOT_INSTALLED]
    assert [str(one) for one in here if version(one.name) not in one.specifier] == []
    core = {Requirement(requirement).name for requirement in PROJECT["dependencies"]}
    assert core.isdisjoint(Requirement(requirement).name for requirement in EXTRAS)


def test_every_package_that_is_imported_is_required():
    distributions = packages_distributions()
    required = {canonicalize_name(Requirement(line).name) for line in [*PROJECT["dependencies"], *EXTRAS]}
    missing = {}
    for path in sorted([*(CHECKOUT / "semart_hf").rglob("*.py"), *(CHECKOUT / "scripts").rglob("*.py")]):
        for module in imported_packages(path) - OWN_MODULES:
            names = {canonicalize_name(name) for name in distributions.get(module, [module])}
            if not names & required:
                missing.setdefault(module, str(path.relative_to(CHECKOUT)))
    assert missing == {}


def test_the_citation_is_of_this_version_and_the_oldest_python_is_run_in_ci():
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["title"].replace("_", "-") == PROJECT["name"]
    assert citation["references"][0]["title"].startswith("How to Read Paintings")
    workflow = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["check"]
    pythons = job["strategy"]["matrix"]["python-version"]
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(f">={PYTHONS[0]}")
    assert pythons[0] == PYTHONS[0]
    assert set(pythons) <= set(PYTHONS)
    assert job["steps"][-1]["run"] == "bash .ci/run"


def test_the_readme_and_ci_name_targets_of_make_that_exist_and_every_extra_is_resolved():
    texts = ((CHECKOUT / name).read_text(encoding="utf-8") for name in ("Makefile", "README.md", ".ci/run"))
    makefile, readme, ci = texts
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    called = re.findall(r"\bmake ([a-z-]+)", ci)
    assert {*called, "help"} <= targets
    assert called == ["environment", "browser", "extras", "lint", "test", "test-floors", "demo", "check-readme"]
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", readme, flags=re.DOTALL))
    assert {"demo", "test"} <= set(re.findall(r"\bmake ([a-z]+)", code)) <= targets
    assert re.search(r"for extra in ([a-z ]+);", makefile)[1].split() == list(PROJECT["optional-dependencies"])


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="not a git checkout")
@pytest.mark.parametrize("path", [".venv/bin/python", "outputs/demo/model/config.json", "semart_hf.egg-info/PKG-INFO"])
def test_what_the_commands_make_is_ignored(path):
    subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=CHECKOUT, check=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python3", "got Python 3.8.1, semart-hf needs 3.10 or newer; name a newer one: make PYTHON="),
        ("python-of-nobody", "got no command '"),
    ],
)
def test_an_old_or_missing_python_is_refused_before_anything_is_made(tmp_path, name, message):
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.1"; exit 1\n')
    python.chmod(0o755)
    # Another place for the environment, so that this one is left alone.
    command = ["make", "environment", f"PYTHON={tmp_path / name}", f"VENV={tmp_path / 'venv'}"]
    made = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert message in made.stderr
    assert not (tmp_path / "venv").exists()
