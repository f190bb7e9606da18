"""Make an environment with the lowest versions that pyproject.toml allows: `python .ci/floor_versions.py FOLDER`.

Only what is older there than here is installed; all else is this environment's, which comes second on the path. So it
takes a minute or two, and not five. From where each version is imported is checked, and printed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # of the tests' own dependencies

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
EXTRAS = ("train", "onnx")  # what the tests import, besides the core
# No test runs CUDA: the libraries that torch is linked against need to be there, of whatever version.
NOT_RUN = re.compile(r"(nvidia|cuda|triton)\b")

LOOK = """
import importlib, json, sys
from importlib.metadata import packages_distributions, version
modules = {}
for module, names in packages_distributions().items():
    for name in names:
        modules.setdefault(name.lower().replace("_", "-"), []).append(module)
seen = {}
for name in json.loads(sys.argv[1]):
    public = min((module for module in modules[name] if not module.startswith("_")), key=len)
    seen[name] = [version(name), str(importlib.import_module(public).__file__)]
print(json.dumps(seen))
"""


def main() -> None:
    """Make the environment in the folder of the command line, and check it."""
    folder = Path(sys.argv[1])
    floors = floor_versions(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"])
    older = {name: floor for name, floor in floors.items() if Version(distribution(name).version) > floor}
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
    python, site = folder / "bin" / "python", next(folder.glob("lib/*/site-packages"))
    needed = [f"{name}=={version}" for name, version in older.items()]
    while needed:
        install(python, needed)
        needed = sorted(set(unmet(Distribution.discover(path=[str(site)]))))
    # A line of code, as a bare path would leave out the .pth files there, such as this package's own.
    (site / "newest.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    check_imports(python, site, older)


def check_imports(python: Path, site: Path, older: dict[str, Version]) -> None:
    """Print each package's version as it is imported.

    Raises:
        ValueError: If it is not the floor.
    """
    seen = subprocess.run([python, "-c", LOOK, json.dumps(list(older))], check=True, stdout=subprocess.PIPE, text=True)
    for name, (version, file) in json.loads(seen.stdout.splitlines()[-1]).items():
        if Version(version) != older[name] or not Path(file).is_relative_to(site.resolve()):
            raise ValueError(
                f"Got {name} {version} from {file}. It must be {older[name]}, from {site}. Remove {site}."
            )
        print(f"{name:14} {version:10} instead of {distribution(name).version}")


def floor_versions(project: dict[str, Any]) -> dict[str, Version]:
    """Lowest allowed version of each package that the core and its extras require.

    Raises:
        ValueError: If a requirement has none.
    """
    groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in EXTRAS)]
    floors = {}
    for requirement in map(Requirement, (text for group in groups for text in group)):
        found = [one.version for one in requirement.specifier if one.operator == ">="]
        if len(found) != 1:
            raise ValueError(f"Got {requirement} in pyproject.toml. Allowed is one floor. Write it as in numpy>=2.")
        floors[plain(requirement.name)] = Version(found[0])
    return floors


def unmet(installed: Iterable[Distribution]) -> Iterator[str]:
    """What these need and neither they nor this environment have.

    Raises:
        ValueError: If they need another version than there is.
    """
    own = {plain(one.metadata["Name"]): one for one in installed}

    def found(name: str) -> Distribution | None:
        try:
            return own.get(plain(name)) or distribution(name)
        except PackageNotFoundError:
            return None

    for needing in own.values():
        waiting = [(text, "") for text in needing.requires or []]
        while waiting:
            text, extra = waiting.pop()
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            there = found(requirement.name)
            if there is None:
                yield f"{requirement.name}{requirement.specifier}"
                continue
            if there.version not in requirement.specifier and not NOT_RUN.match(requirement.name):
                raise ValueError(
                    f"{needing.metadata['Name']} {needing.version} needs {requirement}, but there is {there.version}. "
                    "Allowed are floors that go together. Raise one of them in pyproject.toml."
                )
            waiting += [
                (inner, asked) for asked in requirement.extras for inner in there.requires or [] if "extra" in inner
            ]


def plain(name: str) -> str:
    """A package's name in the spelling that all spellings have in common."""
    return re.sub(r"[-_.]+", "-", name).lower()


def install(python: Path, what: list[str]) -> None:
    """Install exactly this, and nothing that it needs."""
    print(f"Installing {' '.join(what)}", flush=True)
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--only-binary", ":all:"]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", *options, *what], check=True)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
