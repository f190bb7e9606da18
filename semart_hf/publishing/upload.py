"""A folder becomes a repository on the Hub by one commit, or nothing changes there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

#: The Hub's own file, which belongs to no folder.
_OF_THE_HUB = ".gitattributes"


@dataclass(frozen=True)
class Destination:
    """Where a folder goes.

    Args:
        repo_id: `user/name`.
        repo_type: `model`, `dataset` or `space`.
        private: Whether only its owners see it.
        revision: The branch; `None`: main.
        token: The user's; `None`: the one that is logged in.
    """

    repo_id: str
    repo_type: str = "model"
    private: bool = False
    revision: str | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            ValueError: If it is none.
        """
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise ValueError(f"Got the repository {self.repo_id!r}: {error} Give USER/NAME.") from error
        if self.repo_id.count("/") != 1:
            raise ValueError(
                f"Got the repository {self.repo_id!r}. Allowed is USER/NAME, such as anna/semart-resnet18. Give the "
                "user or organisation too."
            )

    def __str__(self) -> str:
        """As a person names it."""
        visibility = "private" if self.private else "public"
        branch = f", branch {self.revision}" if self.revision else ""
        return f"{self.repo_id} ({visibility} {self.repo_type}{branch})"


def list_files(folder: Path) -> dict[str, int]:
    """Path in the repository to size in bytes, of every file in the folder but hidden ones."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: paths[name].stat().st_size
        for name in sorted(paths)
        if not any(part.startswith(".") for part in name.split("/"))
    }


def differing_files(folder: Path, destination: Destination, revision: str) -> list[str]:
    """Files that are not on the Hub as they are in the folder, by the Hub's hashes, or only there.

    Raises:
        OSError: If the Hub cannot be reached, or has no such revision.
    """
    found = HfApi(token=destination.token).verify_repo_checksums(
        destination.repo_id, repo_type=destination.repo_type, revision=revision, local_dir=folder
    )
    here = set(list_files(folder))
    names = {mismatch["path"] for mismatch in found.mismatches} | {*found.missing_paths}
    return sorted(names - {_OF_THE_HUB} | (here & {*found.extra_paths}))


def push_folder(folder: Path, destination: Destination, message: str) -> CommitInfo:
    """The one commit after which the repository holds the folder's files and no others.

    The library's `upload_folder` makes one commit after the other, between which a repository would load wrong.

    Raises:
        ValueError: If the card is refused, the repository is public where a private one is asked for, or somebody else
            committed meanwhile.
        OSError: If the Hub cannot be reached, or refuses.
    """
    api = HfApi(token=destination.token)
    where: Any = {"repo_id": destination.repo_id, "repo_type": destination.repo_type}
    if destination.repo_type != "space":
        RepoCard.load(folder / "README.md", ignore_metadata_errors=True).validate(destination.repo_type)
    sdk = "gradio" if destination.repo_type == "space" else None
    api.create_repo(**where, private=destination.private, exist_ok=True, space_sdk=sdk)
    if destination.private and not api.repo_info(**where).private:
        raise ValueError(
            f"Got {destination.repo_id}, which is there already and is public, where a private repository is asked "
            "for. Make it private in its settings, give another --repo_id, or allow it with --no-private."
        )
    if destination.revision is not None:
        api.create_branch(**where, branch=destination.revision, exist_ok=True)
    head = api.repo_info(**where, revision=destination.revision)
    names = list_files(folder)
    there = {sibling.rfilename for sibling in getattr(head, "siblings", None) or []}
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationDelete(name) for name in sorted(there - set(names) - {_OF_THE_HUB})
    ]
    operations += [CommitOperationAdd(name, str(folder / name)) for name in names]
    try:
        return api.create_commit(
            **where,
            operations=operations,
            commit_message=message,
            revision=destination.revision,
            parent_commit=head.sha,
        )
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 412:
            raise ValueError(
                f"Got another commit to {destination.repo_id} while this one was being made. Allowed is one at a "
                "time, so that no repository is a mixture. Nothing was changed: look at it, and push again."
            ) from error
        raise
