"""A Hub on loopback, users with tokens, and interpreters that talk to it.

Every test here ends with the same question: whether a token was printed, kept or published.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from client_process import Client
from loopback_calls import User
from loopback_hub import LoopbackHub

# Each is a canary: none of them may be found in what was printed, or in any file.
TOKENS = {name: f"hf_{name}{'Canary' * 4}" for name in ("painter", "visitor", "reader")}


@pytest.fixture(scope="session")
def tokens() -> dict[str, str]:
    return TOKENS


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    """A Hub with the users painter and visitor, and a token of the painter's that may only read."""
    users = {
        TOKENS["painter"]: User("painter"),
        TOKENS["visitor"]: User("visitor"),
        TOKENS["reader"]: User("painter", role="read"),
    }
    folder = tmp_path_factory.mktemp("hub")
    with LoopbackHub(folder, users) as running:
        yield running
    assert running.crashes == []
    assert files_with(TOKENS.values(), folder) == []


@pytest.fixture(scope="module")
def start_client(hub: LoopbackHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Client]]:
    """`start_client(token, **options)`: a fresh interpreter in a fresh home, ended with the module."""
    clients = []

    def start(token: str | None = None, home: Path | None = None, **options: Any) -> Client:
        clients.append(Client(home or tmp_path_factory.mktemp("home"), hub.url, token, **options))
        return clients[-1]

    yield start
    for client in clients:
        client.close()
    for client in clients:
        assert files_with(TOKENS.values(), client.home) == []


def files_with(words: Any, folder: Path) -> list[str]:
    """Files below a folder that hold one of the words; links are not followed."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                if any(word.encode() in content for word in words):
                    found.append(str(path))
    return found
