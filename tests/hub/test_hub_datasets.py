import math
import re

import pytest
from client_process import ClientError
from hub_people import TOKENS, TRAINER

READ = """
from datasets import Image, load_dataset

def read(split):
    split = split.cast_column("image", Image(decode=False))
    return [{**row, "image": None if row["image"] is None else row["image"]["bytes"].hex()[:2000]} for row in split]
"""


@pytest.fixture(scope="module")
def local(author):
    """The rows of a prepared miniature, which is then pushed as painter/paintings."""
    author.run(READ)
    return author.run(
        """
        from pathlib import Path
        from semart_hf.miniature.miniature import paint_miniature
        from semart_hf.preparation.preparation import PreparationOptions, prepare_paintings
        from semart_hf.documents.data_report import write_dataset_card
        from semart_hf.publishing.pushing import push_folder
        from semart_hf.catalogue.catalogue import read_rows
        release = paint_miniature("miniature", num_train=24, num_val=6, num_test=6)

        def prepare_and_push(name, rows_per_shard):
            folder = Path(f"prepared_{rows_per_shard}")
            options = PreparationOptions(image_size=64, min_label_count=2, rows_per_shard=rows_per_shard)
            prepare_paintings(read_rows(release), folder, options, num_proc=1)
            write_dataset_card(folder)
            return push_folder(folder, name, "Add the paintings", repo_type="dataset", private=True)

        url = prepare_and_push("painter/paintings", 8).repo_url.url
        local = load_dataset("prepared_8", cache_dir="local_cache")
        features = local["train"].features
        result = {
            "url": url,
            "rows": {name: read(split) for name, split in local.items()},
            "labels": {task: features[task].names for task in ("type", "school", "timeframe", "medium")},
        }
        """
    )


def shards(hub) -> list[str]:
    files = hub.files("painter/paintings", "datasets")
    return sorted(re.sub(r"-of-.*", "", name) for name in files if name.startswith("data/"))


def test_the_repository_is_private_and_holds_the_folder(hub, local):
    repository = hub.repository("painter/paintings", "datasets")
    assert local["url"] == f"{hub.url}/datasets/painter/paintings"
    assert repository.private
    train = (f"data/train-0000{number}" for number in range(3))
    assert shards(hub) == ["data/test-00000", *train, "data/validation-00000"]
    others = {name for name in repository.commit().files if not name.startswith("data/")}
    assert others == {*(".gitattributes", "README.md", "problems.jsonl", "summary.json")}
    assert len(repository.commits) == 2  # the Hub's own, and one with everything


def test_a_clean_client_streams_the_rows_that_were_pushed(hub, clean_client, local):
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
        token=TOKENS["painter"],
        labels=list(local["labels"]),
    )
    assert result == {"rows": local["rows"], "labels": local["labels"]}
    pictures = {row["image"] for row in result["rows"]["train"]}
    assert len(pictures) == len(result["rows"]["train"]) == 24
    parts = [request for request in hub.requests[asked:] if request.path.startswith("/contents/")]
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


def test_a_second_push_is_one_commit_and_a_public_repository_gets_no_private_data(hub, author, local):
    commits = len(hub.repository("painter/paintings", "datasets").commits)
    author.run("prepare_and_push('painter/paintings', 32)")
    assert shards(hub) == ["data/test-00000", "data/train-00000", "data/validation-00000"]
    assert len(hub.repository("painter/paintings", "datasets").commits) == commits + 1
    author.run("from huggingface_hub import create_repo; create_repo('painter/open', repo_type='dataset')")
    with pytest.raises(ClientError, match="painter/open, which is there already and is public") as raised:
        author.run("prepare_and_push('painter/open', 32)")
    assert "ValueError" in raised.value.names
    assert set(hub.files("painter/open", kind="datasets")) == {".gitattributes"}
