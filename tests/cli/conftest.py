"""What tests of several commands read, and none of them changes."""

import pytest
from tiny_release import save_tiny_model, write_release


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("tiny") / "release")
