"""The Trainer's own pushing, called from Python: whole repositories at every save, and no token in any of them."""

from pathlib import Path

import pytest
from hub_people import TRAINER, assert_same_scores
from loopback_hub import Fault

MODEL = Path(__file__).resolve().parents[2] / "semart_hf" / "model"
MODEL_FILES = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
STATE_FILES = {"optimizer.pt", "scheduler.pt", "trainer_state.json"}


@pytest.fixture(scope="module")
def runs(author, tokens, paintings):
    """A training with and without checkpoints on the Hub, its final push included, and what the model said then."""
    author.run(TRAINER)
    return author.run(
        """
        result = {}
        for strategy in ("every_save", "all_checkpoints"):
            trainer = make_trainer(f"runs/{strategy}", push_to_hub=True, hub_strategy=strategy, hub_always_push=True,
                                   hub_model_id=f"painter/{strategy}", hub_token=token, hub_private_repo=True)
            trainer.train()
            trainer.push_to_hub()
            result[strategy] = {
                "scores": folder_scores(f"runs/{strategy}", paintings),
                "folders": sorted(path.name for path in Path("runs", strategy).iterdir() if path.is_dir()),
            }
        """,
        token=tokens["painter"],
        paintings=paintings,
    )


def commits(hub, repo):
    """The commits after the first, which makes the repository, oldest first."""
    return list(hub.repository(repo).history("main"))[::-1][1:]


@pytest.mark.parametrize("strategy", ["every_save", "all_checkpoints"])
def test_every_commit_is_a_whole_repository(hub, author, runs, strategy):
    history = commits(hub, f"painter/{strategy}")
    saves = ["Training in progress, checkpoint-2", "Training in progress, checkpoint-4"]
    assert [commit.title for commit in history] == [*saves, "End of training"]
    for commit in history:
        top = {path for path in commit.files if "/" not in path}
        code = {path for path in top if path.endswith(".py")}
        assert code == {path.name for path in MODEL.glob("*_semart.py")}
        assert top - code - {".gitattributes", "README.md"} == MODEL_FILES
    assert "README.md" in history[-1].files
    assert not any(path.endswith("training_args.bin") for commit in history for path in commit.files)
    for name, content in hub.files(f"painter/{strategy}").items():
        assert str(author.home).encode() not in content, name
    assert runs[strategy]["folders"] == ["checkpoint-4"]  # no folder of links is left


def test_each_checkpoint_folder_is_whole_too(hub, runs):
    files = [path.split("/") for path in commits(hub, "painter/all_checkpoints")[-1].files if "/" in path]
    for folder in ("checkpoint-2", "checkpoint-4"):
        inside = {path[1] for path in files if path[0] == folder}
        assert inside >= MODEL_FILES | STATE_FILES | {"pipeline_semart.py"}


def test_a_clean_client_loads_every_commit(hub, clean_client, tokens, runs, paintings):
    names = {strategy: [commit.id for commit in commits(hub, f"painter/{strategy}")] for strategy in runs}
    result = clean_client.run(
        """
        result = {
            strategy: [scores(load(f"painter/{strategy}", revision=name, token=token), paintings) for name in ids]
            for strategy, ids in names.items()
        }
        """,
        names=names,
        token=tokens["reader"],
        paintings=paintings,
    )
    for strategy, answers in result.items():
        assert_same_scores(answers[-1], runs[strategy]["scores"])
    first, second, last = result["every_save"]
    assert first != second
    assert_same_scores(second, last)


def test_training_goes_on_from_the_checkpoint_on_the_hub(author, runs, tokens):
    result = author.run(
        """
        from huggingface_hub import snapshot_download
        folder = Path(snapshot_download("painter/all_checkpoints", token=token, local_dir="resumed"))
        trainer = make_trainer("runs/resumed", save_strategy="no")
        trainer.train(resume_from_checkpoint=str(folder / "checkpoint-2"))
        from safetensors.torch import load_file
        expected = load_file("runs/every_save/model.safetensors")
        got = trainer.model.state_dict()
        same = all(torch.equal(expected[name], got[name]) for name in expected)
        result = {"step": trainer.state.global_step, "same": same}
        """,
        token=tokens["reader"],
    )
    assert result == {"step": 4, "same": True}


def test_a_push_that_fails_is_said_and_the_training_goes_on(hub, author, paintings):
    with hub.fault(Fault("POST", "/api/models/painter/unlucky/commit/", status=500)):
        author.run(
            """
            trainer = make_trainer("runs/unlucky", push_to_hub=True, hub_strategy="every_save", hub_always_push=True,
                                   hub_model_id="painter/unlucky")
            trainer.train()
            """
        )
    assert [commit.title for commit in commits(hub, "painter/unlucky")] == ["Training in progress, checkpoint-4"]
    printed = author.printed.read_text()
    assert "'Training in progress, checkpoint-2' was not pushed to painter/unlucky, which stays as it was" in printed
    assert "500" in printed
