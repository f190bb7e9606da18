"""Folders of the Trainer on the Hub: each push is one commit, and holds a whole repository or nothing."""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, create_commit

TRAINER_STATE = "trainer_state.json"

logger = logging.getLogger(__name__)

#: What loads a model, and its card. All else that a folder of the Trainer holds (optimizer, random states, logs,
#: results) stays at home, or goes with the whole checkpoint into a folder of its own.
REPOSITORY_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.py",
    "config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "README.md",
)


def start_push(
    folder: str | os.PathLike[str],
    repo_id: str,
    message: str,
    *,
    workspace: str | os.PathLike[str],
    names: Iterable[str] | None = None,
    checkpoint_name: str | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> "Future[CommitInfo]":
    """The commit that is being made in the background; if it fails, that is logged as a warning.

    The files are linked to another place first, so that the folder may go meanwhile, as old checkpoints do.

    Args:
        folder: A checkpoint, or the finished model.
        repo_id: An existing repository.
        message: The commit's.
        workspace: A folder of the same file system, for the links.
        names: Files of the folder to push; `None`: what loads the model, and its card.
        checkpoint_name: Name of a folder in the repository for the whole checkpoint, with what resuming needs; `None`:
            the model alone.
        token: The user's; `None`: the one that is logged in.
        revision: The branch; `None`: main.

    Raises:
        ValueError: If the folder holds no model.
    """
    source = Path(folder)
    if not (source / "config.json").is_file():
        raise ValueError(
            f"Got {source}, which has no config.json. Allowed is a folder that the Trainer saved. Call "
            "trainer.save_model() first."
        )
    linked = Path(tempfile.mkdtemp(dir=workspace, prefix="_push-"))
    try:
        operations = [
            CommitOperationAdd(name, str(_link(source / name, linked / "model" / name)))
            for name in (_repository_names(source) if names is None else names)
        ]
        if checkpoint_name is not None:
            operations += [
                CommitOperationAdd(f"{checkpoint_name}/{name}", str(_link(source / name, linked / "all" / name)))
                for name in _all_names(source)
            ]
            _forget_folders(linked / "all" / TRAINER_STATE)
        # The library's own function makes one commit after the other.
        push = create_commit(
            repo_id, operations, commit_message=message, token=token, revision=revision, run_as_future=True
        )
    except BaseException:
        shutil.rmtree(linked)
        raise
    push.add_done_callback(lambda done: _finish(done, linked, repo_id, message))
    return push


def _repository_names(folder: Path) -> list[str]:
    return sorted({path.name for pattern in REPOSITORY_FILES for path in folder.glob(pattern) if path.is_file()})


def _all_names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _link(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
    return target


def _forget_folders(path: Path) -> None:
    """Name the best checkpoint in a copy of the Trainer's state without the folders of this machine."""
    if not path.is_file():
        return
    state = json.loads(path.read_text(encoding="utf-8"))
    if best := state.get("best_model_checkpoint"):
        path.unlink()  # a link to the checkpoint's own file
        path.write_text(json.dumps({**state, "best_model_checkpoint": Path(best).name}, indent=2) + "\n", "utf-8")


def _finish(push: "Future[CommitInfo]", linked: Path, repo_id: str, message: str) -> None:
    shutil.rmtree(linked, ignore_errors=True)
    if not push.cancelled() and (error := push.exception()) is not None:
        logger.warning("%r was not pushed to %s, which stays as it was: %s", message, repo_id, error)
