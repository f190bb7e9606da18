"""A Hub on loopback, users with tokens, and interpreters that talk to it.

Every test here ends with the same question: whether a token was printed, kept or published.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from client_process import Client
from hub_people import AUTHOR, LOADING, TOKENS, files_with
from loopback_hub import LoopbackHub
from PIL import Image


@pytest.fixture(scope="session")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub({token: name for name, token in TOKENS.items()}) as running:
        yield running
    assert running.crashes == []
    for repository in running.repositories.values():
        contents = b"".join(file.content for commit in repository.commits for file in commit.files.values())
        assert not any(token.encode() in contents for token in TOKENS.values())


@pytest.fixture(scope="session")
def start_client(hub: LoopbackHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Client]]:
    clients = []

    def start(token: str = "", **options: Any) -> Client:
        clients.append(Client(options.pop("home", None) or tmp_path_factory.mktemp("home"), hub.url, token, **options))
        return clients[-1]

    yield start
    for client in clients:
        client.close()
    for client in clients:
        assert files_with(TOKENS.values(), client.home) == []


@pytest.fixture(scope="session")
def author_and_clean_client(start_client) -> tuple[Client, Client]:
    author, clean_client = start_client(TOKENS["painter"]), start_client(hidden=("semart_hf",))
    author.start(AUTHOR)  # both import at the same time
    clean_client.start(LOADING)
    author.finish()
    clean_client.finish()
    return author, clean_client


@pytest.fixture(scope="session")
def author(author_and_clean_client) -> Client:
    """Who may write under `painter`, and has the package."""
    return author_and_clean_client[0]


@pytest.fixture(scope="session")
def clean_client(author_and_clean_client) -> Client:
    """Somebody without a token and without the package."""
    return author_and_clean_client[1]


@pytest.fixture(scope="session")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str | None]]:
    """Picture and text, picture alone, text alone."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(3)
    paths = [str(folder / f"{name}.png") for name in ("mill", "lady")]
    for path in paths:
        Image.fromarray(generator.integers(0, 255, (80, 100, 3), dtype=np.uint8)).save(path)
    mill, lady = ({"image": path} for path in paths)
    return [{**mill, "text": "A mill by the river"}, lady, {"text": "The lady with a view of Delft"}]


@pytest.fixture(scope="session")
def delft(author, paintings) -> dict[str, Any]:
    """A pushed model, `painter/delft`, and its scores before."""
    return author.run(
        """
        model, pipe = build(seed=0)
        pipe.push_to_hub("painter/delft", commit_message="A model")
        result = {"repo": "painter/delft", "scores": scores(pipe, paintings)}
        """,
        paintings=paintings,
    )
