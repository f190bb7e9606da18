"""A prepared folder becomes a dataset on the Hub: one commit, private unless it is told otherwise."""

from pathlib import Path

from huggingface_hub import HfApi

from .upload import Destination, push_folder


def push_dataset(folder: str | Path, repo_id: str, *, private: bool = True) -> str:
    """Address of the Hub's dataset repository that now holds the prepared folder and nothing else.

    Args:
        folder: What `semart_hf.preparation.preparation.prepare_paintings` wrote.
        repo_id: `user/name`; the repository is made if it is not there.
        private: Whether the repository must be private. One that is public already is then refused.

    Raises:
        ValueError: The folder is not a prepared one, the repository is public and was to be private, or somebody else
            committed to it meanwhile.
        OSError: The Hub cannot be reached, or refuses.
    """
    folder = Path(folder)
    if not (folder / "README.md").is_file() or not any(folder.glob("data/*.parquet")):
        raise ValueError(
            f"Got the folder {folder}, but what is pushed has README.md and data/*.parquet. Prepare it with "
            "scripts/prepare_data.py."
        )
    destination = Destination(repo_id, repo_type="dataset", private=private)
    hub = HfApi()
    url = hub.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    if private and not hub.repo_info(repo_id, repo_type="dataset").private:
        raise ValueError(
            f"Got the repository {repo_id}, which is public already, but prepared pictures are pushed to a private "
            "one. Make it private, take another name, or pass --public if all of its pictures and texts may be "
            "redistributed."
        )
    push_folder(folder, destination, "Add the prepared paintings")
    return str(url)
