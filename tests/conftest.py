import functools
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

CHECKOUT = Path(__file__).resolve().parents[1]
# Files whose tests start processes take longest: begun first, none of them is left for one core at the end.
LONGEST_FIRST = ["training/test_processes.py", "cli/test_compare.py", "cli/test_train.py", "training/test_resume.py"]
LONGEST_FIRST += ["hub/test_hub_trainer.py", "hub/test_hub_push.py", "hub/test_hub_models.py", "test_docs.py"]
LONGEST_FIRST += ["publishing/test_onnx.py", "training/test_run_folder.py", "preparation/test_preparation_faults.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file, and of all others, stays."""
    places = {CHECKOUT / "tests" / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real SemArt files and paintings; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("SEMART_SHARED_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set SEMART_SHARED_DATA)")
    return folder


def pretend(patch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    found = {**torch.cpu.get_capabilities(), **capabilities}
    patch.setattr(torch.cpu, "get_capabilities", lambda: found)


@pytest.fixture(autouse=True, scope="session")
def values_are_compared_in_float32() -> Iterator[None]:
    """Whatever this machine multiplies in; `multiplies_in_bf16` says that it does in bfloat16."""
    with pytest.MonkeyPatch.context() as patch:
        pretend(patch, amx_tile=False, avx512_bf16=False)
        yield


@pytest.fixture
def multiplies_in_bf16(monkeypatch) -> None:
    """A machine that computes in bfloat16 by itself, as a CPU with AVX512_BF16 does; others emulate it."""
    pretend(monkeypatch, amx_tile=False, avx512_bf16=True)


@pytest.fixture
def pretend_cpu(monkeypatch) -> Callable[..., None]:
    return functools.partial(pretend, monkeypatch)


@pytest.fixture(autouse=True)
def commands_that_are_silent_leave_the_next_test_its_log() -> Iterator[None]:
    """A command sets what its process logs; in the tests many commands share one."""
    logger = logging.getLogger("semart_hf")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session")
def small_release(tmp_path_factory) -> Path:
    """A miniature release of 70 training, 19 validation and 21 test paintings."""
    from semart_hf.miniature.miniature import paint_miniature

    return paint_miniature(tmp_path_factory.mktemp("miniature") / "release", num_train=70, num_val=19, num_test=21)
