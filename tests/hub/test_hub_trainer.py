import json
from pathlib import Path

import pytest
from hub_people import RUN_SCRIPT, TOKENS, TRAINER, assert_same_scores
from loopback_hub import Fault
from small_recipe import small_recipe

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train.py"
PUSHED = {"push_to_hub": True, "hub_always_push": True, "hub_private_repo": True, "save_total_limit": 1}
RECIPE = small_recipe(**PUSHED, min_label_count=2, num_train_epochs=2, learning_rate=1e-2)
STRATEGIES = ("end", "every_save", "checkpoint", "all_checkpoints")
MODEL_FILES = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "pipeline_semart.py"}
STATE_FILES = {"optimizer.pt", "scheduler.pt", "trainer_state.json"}


@pytest.fixture(scope="module")
def runs(author, paintings):
    """What each strategy printed, the scores of its finished model, and what it wrote."""
    author.run(TRAINER + RUN_SCRIPT)
    return author.run(
        """
        from semart_hf.miniature.miniature import paint_miniature
        release = str(paint_miniature("release", num_train=16, num_val=4, num_test=4).resolve())
        Path("recipe.yaml").write_text(recipe)
        result = {}
        for strategy in strategies:
            folder = Path("trained", strategy).resolve()
            printed = run_script(script, "recipe.yaml", "--data", release, "--output_dir", str(folder),
                                 "--hub_strategy", strategy, "--hub_model_id", f"painter/{strategy}",
                                 "--hub_token", token)
            result[strategy] = {"printed": printed, "scores": folder_scores(folder, paintings),
                                "recipe": (folder / "recipe.yaml").read_text(),
                                "files": sorted(path.name for path in folder.iterdir())}
        """,
        script=str(SCRIPT),
        recipe=RECIPE,
        strategies=STRATEGIES,
        token=TOKENS["painter"],
        paintings=paintings,
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_commit_holds_what_loads_and_nothing_of_the_machine(hub, author, runs, strategy):
    commits = hub.repository(f"painter/{strategy}").commits[1:]
    saves = [] if strategy == "end" else ["Training in progress, checkpoint-2", "Training in progress, checkpoint-4"]
    assert [commit.title for commit in commits] == [*saves, "End of training"]
    assert commits[-1].id in runs[strategy]["printed"]
    for commit in commits:
        assert set(commit.files) >= MODEL_FILES
        assert not any(path.endswith("training_args.bin") for path in commit.files)
    assert set(commits[-1].files) >= {"README.md", "results.json", "LICENSE"}
    folders = {path.split("/")[0] for path in commits[-1].files if "/" in path}
    kept = {"checkpoint": {"last-checkpoint"}, "all_checkpoints": {"checkpoint-2", "checkpoint-4"}}
    assert folders == kept.get(strategy, set())
    for folder in folders:
        inside = {path.removeprefix(f"{folder}/") for path in commits[-1].files if path.startswith(folder)}
        assert inside >= MODEL_FILES | STATE_FILES
    for name, content in hub.files(f"painter/{strategy}").items():
        assert str(author.home).encode() not in content, name


def test_the_card_has_what_was_measured_and_no_token_is_written_into_the_recipe(hub, runs):
    files = hub.files("painter/end")
    results = json.loads(files["results.json"])
    card = files["README.md"].decode()
    assert results["model"] == "painter/end"
    assert f"- seconds: {results['training']['seconds']:,}" in card
    assert 'pipeline("art-classification", model="painter/end", trust_remote_code=True)' in card
    assert "num_train_epochs: 2" in card
    assert "hub_" not in card
    for run in runs.values():
        assert "hub_model_id" in run["recipe"]
        assert "token" not in run["recipe"]
        assert TOKENS["painter"] not in run["printed"]
        assert not [name for name in run["files"] if name.startswith("_")]


def test_a_clean_client_loads_the_commits(hub, clean_client, runs, paintings):
    commits = {strategy: hub.repository(f"painter/{strategy}").commits[-1:] for strategy in runs}
    commits["every_save"] = hub.repository("painter/every_save").commits[1:]
    result = clean_client.run(
        """
        result = {
            strategy: [scores(load(f"painter/{strategy}", revision=name, token=token), paintings) for name in ids]
            for strategy, ids in names.items()
        }
        """,
        names={strategy: [commit.id for commit in made] for strategy, made in commits.items()},
        token=TOKENS["painter"],
        paintings=paintings,
    )
    for strategy, answers in result.items():
        assert_same_scores(answers[-1], runs[strategy]["scores"])
    first, second, _ = result["every_save"]
    assert first != second


def test_training_goes_on_from_the_checkpoint_on_the_hub(author, runs):
    result = author.run(
        """
        from huggingface_hub import snapshot_download
        from safetensors.torch import load_file
        trainer = make_trainer("runs/pushed", push_to_hub=True, hub_strategy="all_checkpoints", hub_always_push=True,
                               hub_model_id="painter/pushed")
        trainer.train()
        trainer.push_to_hub()
        folder = Path(snapshot_download("painter/pushed", local_dir="resumed"))
        trainer = make_trainer("runs/resumed", save_strategy="no")
        trainer.train(resume_from_checkpoint=str(folder / "checkpoint-2"))
        expected, weights = load_file(folder / "model.safetensors"), trainer.model.state_dict()
        same = all(torch.equal(expected[name], weights[name]) for name in expected)
        result = {"step": trainer.state.global_step, "same": same, "card": (folder / "README.md").exists()}
        """
    )
    assert result == {"step": 4, "same": True, "card": True}


def test_a_push_that_fails_is_reported_and_the_training_goes_on(hub, author, runs):
    with hub.fault(Fault("POST", "/api/models/painter/unlucky/commit/", status=500)):
        author.run(
            """
            trainer = make_trainer("runs/unlucky", push_to_hub=True, hub_strategy="every_save", hub_always_push=True,
                                   hub_model_id="painter/unlucky")
            trainer.train()
            """
        )
    titles = [commit.title for commit in hub.repository("painter/unlucky").commits]
    assert titles == ["initial commit", "Training in progress, checkpoint-4"]
    printed = author.printed.read_text()
    assert "'Training in progress, checkpoint-2' was not pushed to painter/unlucky, which stays as it was" in printed
    assert "500" in printed
