"""A folder becomes one commit on the Hub, where `upload_folder` makes several: all of it is there, or nothing."""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard
from huggingface_hub.errors import HfHubHTTPError

#: What loads a model, and its card; not the optimizer, random states, logs and results of a folder of the Trainer.
REPOSITORY_FILES = (
    *("*.safetensors", "*.safetensors.index.json", "*.py", "config.json", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "README.md"),
)
HUB_FILE = ".gitattributes"  # the Hub's own, which belongs to no folder

logger = logging.getLogger(__name__)


def list_files(folder: Path) -> dict[str, Path]:
    """Every file in the folder but hidden ones, by its name in the repository."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in paths.items() if "/." not in f"/{name}"}


def list_model_files(folder: Path) -> dict[str, Path]:
    """The files in a Trainer's folder that load its model, and the card, by name."""
    return {path.name: path for pattern in REPOSITORY_FILES for path in sorted(folder.glob(pattern))}


def push_folder(
    folder: Path, repo_id: str, message: str, *, repo_type: str = "model", private: bool = False
) -> CommitInfo:
    """The one commit after which the repository holds the folder's files and no others."""
    api = HfApi()
    repository: dict[str, Any] = {"repo_id": repo_id, "repo_type": repo_type}
    if repo_type != "space":
        RepoCard.load(folder / "README.md", ignore_metadata_errors=True).validate(repo_type)
    api.create_repo(**repository, private=private, exist_ok=True, space_sdk="gradio" if repo_type == "space" else None)
    head = api.repo_info(**repository)
    if private and not head.private:
        problem = f"Got {repo_id}, which is there already and is public, where a private repository is asked for"
        raise ValueError(f"{problem}. Make it private in its settings, or give another --repo_id or --no-private.")
    files = list_files(folder)
    old = set(api.list_repo_files(**repository, revision=head.sha)) - {*files, HUB_FILE}
    operations: list[Any] = [CommitOperationDelete(name) for name in sorted(old)]
    operations += [CommitOperationAdd(name, str(path)) for name, path in files.items()]
    try:
        return api.create_commit(**repository, operations=operations, commit_message=message, parent_commit=head.sha)
    except HfHubHTTPError as error:
        if error.response.status_code == 412:
            problem = f"Got another commit to {repo_id} while this one was being made"
            raise ValueError(f"{problem}. Nothing was changed: look at it, and push again.") from error
        raise


def start_push(
    files: Mapping[str, Path], repo_id: str, message: str, *, workspace: Path, **options: Any
) -> "Future[CommitInfo]":
    """The commit in the background of a Trainer's files, by their names in the repository."""
    # The files are linked into the workspace, so that their folder may go meanwhile, as old checkpoints do.
    linked = tempfile.TemporaryDirectory(dir=workspace, prefix="_push-", ignore_cleanup_errors=True)
    operations = [CommitOperationAdd(name, _content(path, linked.name)) for name, path in files.items()]

    def commit() -> CommitInfo:
        try:
            return huggingface_hub.create_commit(repo_id, operations, commit_message=message, **options)
        except Exception as error:
            logger.warning("%r was not pushed to %s, which stays as it was: %s", message, repo_id, error)
            raise
        finally:
            linked.cleanup()

    return huggingface_hub.run_as_future(commit)  # after those before it


def _content(source: Path, folder: str) -> str | bytes:
    """A link to the file; of the Trainer's state the content, which names the best checkpoint without its folders."""
    if source.name == "trainer_state.json":
        state = json.loads(source.read_text(encoding="utf-8"))
        if best := state.get("best_model_checkpoint"):
            state["best_model_checkpoint"] = Path(best).name
        return (json.dumps(state, indent=2) + "\n").encode()
    target = Path(tempfile.mkdtemp(dir=folder), source.name)
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
    return str(target)
