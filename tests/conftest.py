import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real SemArt files and paintings; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("SEMART_SHARED_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set SEMART_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def small_release(tmp_path_factory) -> Path:
    """A miniature release of 70 training, 19 validation and 21 test paintings."""
    from semart_hf.data.miniature import paint_miniature

    return paint_miniature(tmp_path_factory.mktemp("miniature") / "release", num_train=70, num_val=19, num_test=21)
