import importlib.util
from email.message import Message
from pathlib import Path

import pytest
from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("floor_versions_program", CHECKOUT / ".ci" / "floor_versions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Installed:
    def __init__(self, name, version, *requires):
        self.metadata, self.version, self.requires = Message(), version, list(requires)
        self.metadata["Name"] = name


def project(*core):
    return {"dependencies": list(core), "optional-dependencies": {"train": ["PyYAML>=6.0.1"], "onnx": []}}


def test_every_requirement_has_a_floor_and_one_is_demanded(program):
    floors = program.floor_versions(program.tomllib.loads(program.PYPROJECT.read_text())["project"])
    assert {"transformers", "timm", "torch", "datasets", "onnxruntime"} <= set(floors)
    floors = program.floor_versions(project("numpy>=2", "huggingface_hub>=2.4,<3"))
    assert floors == {"numpy": Version("2"), "huggingface-hub": Version("2.4"), "pyyaml": Version("6.0.1")}
    with pytest.raises(ValueError, match=r"Got numpy in pyproject\.toml\. Allowed is one floor\."):
        program.floor_versions(project("numpy"))


def test_what_a_floor_needs_besides_is_named(program, monkeypatch):
    cuda = Installed("cuda-toolkit", "13.2", "nvidia-curand==10.* ; extra == 'curand'")
    here = {"cuda-toolkit": cuda, "numpy": Installed("numpy", "2.4")}

    def distribution(name):
        if name not in here:
            raise program.PackageNotFoundError(name)
        return here[name]

    monkeypatch.setattr(program, "distribution", distribution)
    needing = Installed("torch", "2.14", "cuda-toolkit[curand]==13.0", "sympy>1", "numpy>=2", "gone; extra == 'no'")
    assert sorted(program.unmet([needing])) == ["nvidia-curand==10.*", "sympy>1"]
    # What is installed beside it counts before what is here.
    assert list(program.unmet([Installed("pandas", "2", "numpy<2.1"), Installed("NumPy", "2.0")])) == []
    with pytest.raises(ValueError, match=r"pandas 2 needs numpy<2\.1, but there is 2\.4\. Allowed are floors that go"):
        list(program.unmet([Installed("pandas", "2", "numpy<2.1")]))
