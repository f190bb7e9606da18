"""A prepared dataset: pushed, private, streamed back row by row, and trained on."""

import math
import re

import pytest
from client_process import ClientError
from hub_people import TRAINER
from loopback_hub import Fault

READ = """
from datasets import Image, load_dataset

def read(split):
    split = split.cast_column("image", Image(decode=False))
    return [{**row, "image": None if row["image"] is None else row["image"]["bytes"].hex()[:2000]} for row in split]
"""


def num_commits(hub) -> int:
    return len(list(hub.repository("painter/paintings", "datasets").folder.glob("commits/*.json")))


@pytest.fixture(scope="module")
def local(author):
    """The rows of a prepared miniature, which is then pushed as painter/paintings."""
    author.run(READ)
    return author.run(
        """
        from pathlib import Path
        from semart_hf.miniature.miniature import paint_miniature
        from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings
        from semart_hf.documents.dataset_card import write_dataset_card
        from semart_hf.publishing.upload import Destination, push_folder
        from semart_hf.catalogue.release import read_rows
        release = paint_miniature("miniature", num_train=24, num_val=6, num_test=6)
        options = PreparationOptions(image_size=64, min_label_count=2, rows_per_shard=8)
        prepare_paintings(read_rows(release), "prepared", options, num_proc=1)
        write_dataset_card(Path("prepared"))

        def push(folder, name):
            return push_folder(Path(folder), Destination(name, "dataset", private=True), "Add the paintings")

        url = push("prepared", "painter/paintings").repo_url.url
        local = load_dataset("prepared", cache_dir="local_cache")
        features = local["train"].features
        result = {
            "url": url,
            "rows": {name: read(split) for name, split in local.items()},
            "labels": {task: features[task].names for task in ("type", "school", "timeframe", "medium")},
        }
        """
    )


def test_the_repository_is_private_and_holds_the_folder(hub, local):
    assert local["url"] == f"{hub.url}/datasets/painter/paintings"
    assert hub.repository("painter/paintings", "datasets").private
    files = hub.files("painter/paintings", kind="datasets")
    shards = sorted(name for name in files if name.startswith("data/"))
    assert [re.sub(r"-of-.*", "", name) for name in shards] == [
        "data/test-00000",
        "data/train-00000",
        "data/train-00001",
        "data/train-00002",
        "data/validation-00000",
    ]
    assert set(files) - set(shards) == {*(".gitattributes", "README.md", "problems.jsonl", "summary.json")}
    assert num_commits(hub) == 2  # the Hub's own, and one with everything


def test_a_clean_client_streams_the_rows_that_were_pushed(hub, clean_client, tokens, local):
    with pytest.raises(ClientError, match="painter/paintings"):
        clean_client.run("from datasets import load_dataset\nload_dataset('painter/paintings', streaming=True)")
    clean_client.run(READ)
    asked = len(hub.requests)
    result = clean_client.run(
        """
        streamed = load_dataset("painter/paintings", streaming=True, token=token)
        result = {
            "rows": {name: read(split) for name, split in streamed.items()},
            "labels": {task: streamed["train"].features[task].names for task in labels},
        }
        """,
        token=tokens["reader"],
        labels=list(local["labels"]),
    )
    assert result == {"rows": local["rows"], "labels": local["labels"]}
    pictures = {row["image"] for row in result["rows"]["train"]}
    assert len(pictures) == len(result["rows"]["train"]) == 24
    parts = [request for request in hub.requests[asked:] if request.server == "storage"]
    assert parts
    assert all(request.range and request.status == 206 for request in parts)


def test_the_streamed_rows_train_a_model(author, local):
    author.run(TRAINER)
    result = author.run(
        """
        from semart_hf.data.loading import load_paintings
        from semart_hf.data.streaming import PaintingStream
        whole = load_paintings("painter/paintings")
        judged = load_paintings("painter/paintings", only=["validation", "test"])
        TASKS = [{"name": name, "labels": names} for name, names in labels.items()]
        stream = PaintingStream("painter/paintings", buffer_size=8)
        trainer = make_trainer("runs/streamed", save_strategy="no", logging_steps=1)
        trainer.train_dataset = stream
        trainer.train()
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
        result = {"rows": dict(whole.num_rows), "judged": dict(judged.num_rows), "losses": losses,
                  "epoch": trainer.state.epoch, "texts": list(stream.column("text")) == whole["train"]["text"][:]}
        """,
        labels=local["labels"],
    )
    assert result["rows"] == {"train": 24, "validation": 6, "test": 6}
    assert result["judged"] == {"validation": 6, "test": 6}
    assert result["epoch"] == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in result["losses"])
    assert result["texts"] is True


def test_a_second_push_is_one_commit_and_leaves_no_old_file(hub, author, local):
    before = num_commits(hub)
    author.run(
        """
        options = PreparationOptions(image_size=64, min_label_count=2, rows_per_shard=32)
        prepare_paintings(read_rows(release), "prepared_again", options, num_proc=1)
        write_dataset_card(Path("prepared_again"))
        push("prepared_again", "painter/paintings")
        """
    )
    shards = [name for name in hub.files("painter/paintings", kind="datasets") if name.startswith("data/")]
    assert len(shards) == 3
    assert num_commits(hub) == before + 1


def test_a_push_that_breaks_off_changes_nothing(hub, author, local):
    before = hub.files("painter/paintings", kind="datasets")
    with hub.fault(Fault("POST", "/commit/", status=500)), pytest.raises(ClientError, match="500"):
        author.run("push('prepared', 'painter/paintings')")
    assert hub.files("painter/paintings", kind="datasets") == before


def test_a_public_repository_gets_no_private_data(hub, author, local):
    author.run("from huggingface_hub import create_repo; create_repo('painter/open', repo_type='dataset')")
    with pytest.raises(ClientError, match="painter/open, which is there already and is public") as raised:
        author.run("push('prepared', 'painter/open')")
    assert "ValueError" in raised.value.names
    assert set(hub.files("painter/open", kind="datasets")) == {".gitattributes"}
