"""A prepared folder goes to the Hub, into a private repository unless it is told otherwise."""

from pathlib import Path

from huggingface_hub import HfApi

from .dataset_card import SEMART_LICENCE

#: What is said before anything is uploaded.
LICENCE_NOTICE = (
    f"{SEMART_LICENCE}\nOther catalogues have terms of their own: look them up before you make a dataset public."
)


def push_dataset(folder: str | Path, repo_id: str, *, private: bool = True) -> str:
    """Address of the Hub's dataset repository that now holds the prepared folder, and of it no other shards.

    Args:
        folder: What `prepare_paintings` wrote.
        repo_id: `user/name`; the repository is made if it is not there.
        private: Whether the repository must be private. One that is public already is then refused.

    Raises:
        ValueError: The folder is not a prepared one, or the repository is public and was to be private.
    """
    folder = Path(folder)
    if not (folder / "README.md").is_file() or not any(folder.glob("data/*.parquet")):
        raise ValueError(
            f"Got the folder {folder}, but what is pushed has README.md and data/*.parquet. Prepare it with "
            "scripts/prepare_data.py."
        )
    hub = HfApi()
    url = hub.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    if private and not hub.repo_info(url.repo_id, repo_type="dataset").private:
        raise ValueError(
            f"Got the repository {url.repo_id}, which is public already, but prepared pictures are pushed to a "
            "private one. Make it private, take another name, or pass --public if all of its pictures and texts may "
            "be redistributed."
        )
    hub.upload_folder(
        repo_id=url.repo_id,
        folder_path=folder,
        repo_type="dataset",
        commit_message="Add the prepared paintings",
        delete_patterns="data/*",  # shards of an earlier preparation would be read as further rows
    )
    return str(url)
