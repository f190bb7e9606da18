import pytest
from small_trainer import parts_of


@pytest.fixture(scope="module")
def parts(small_release):
    return parts_of(small_release)
