import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real SemArt files and paintings; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("SEMART_SHARED_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set SEMART_SHARED_DATA)")
    return folder


@pytest.fixture(autouse=True, scope="session")
def values_are_compared_in_float32() -> Iterator[None]:
    """Whatever this machine multiplies in; `multiplies_in_bf16` says that it does in bfloat16."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
            patch.setattr(torch.cpu, name, lambda: False)
        yield


@pytest.fixture
def multiplies_in_bf16(monkeypatch) -> None:
    """A machine that computes in bfloat16 by itself, as a CPU with AVX512_BF16 does; others emulate it."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


@pytest.fixture(scope="session")
def small_release(tmp_path_factory) -> Path:
    """A miniature release of 70 training, 19 validation and 21 test paintings."""
    from semart_hf.miniature.miniature import paint_miniature

    return paint_miniature(tmp_path_factory.mktemp("miniature") / "release", num_train=70, num_val=19, num_test=21)
