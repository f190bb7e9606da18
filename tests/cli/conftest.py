import shutil

import pytest
from tiny_release import save_tiny_model, write_release
from transformers import pipeline


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")  # a module may change its weights
def classify(model):
    return pipeline("art-classification", model=str(model), device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("tiny") / "release")


@pytest.fixture(scope="module")
def browser():
    """A Chromium that is installed; a test that needs it is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright, which drives a browser")
    pytest.importorskip("gradio", reason="no gradio, which makes the page: pip install 'semart-hf[app]'")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium to look at the page with")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
