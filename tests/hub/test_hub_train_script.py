"""`push_to_hub: true` in a recipe: what `scripts/train.py` itself leaves on the Hub at every save, and at its end."""

import json
from pathlib import Path

import pytest
from hub_people import assert_same_scores

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train.py"
RECIPE = """
vision: test_resnet
text: null
text_args: {dim: 16, n_layers: 1, n_heads: 2, hidden_dim: 16}
pretrained: false
image_size: 32
trainable_text_layers: null
fusion_dim: 16
min_label_count: 2
vocab_size: 200
max_text_length: 16
num_train_epochs: 2
per_device_train_batch_size: 8
save_total_limit: 1
learning_rate: 1e-2
push_to_hub: true
hub_always_push: true
hub_private_repo: true
"""
TRAIN = """
import contextlib, io, runpy, sys
from semart_hf.miniature.miniature import paint_miniature
from transformers import pipeline

release = str(paint_miniature("release", num_train=16, num_val=4, num_test=4).resolve())
Path("recipe.yaml").write_text(recipe)

def train(*words):
    printed, before = io.StringIO(), list(sys.path)
    sys.argv = ["train.py", "recipe.yaml", "--data", release, *words]
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(script, run_name="__main__")
    finally:
        sys.path[:] = before
    return printed.getvalue()
"""
STRATEGIES = ("end", "every_save", "checkpoint", "all_checkpoints")


@pytest.fixture(scope="module")
def runs(author, tokens, paintings):
    """What each strategy printed, what its finished model says, and the recipe that it wrote."""
    author.run(TRAIN, script=str(SCRIPT), recipe=RECIPE)
    return author.run(
        """
        result = {}
        for strategy in strategies:
            folder = str(Path("trained", strategy).resolve())
            printed = train("--output_dir", folder, "--hub_strategy", strategy,
                            "--hub_model_id", f"painter/script_{strategy}", "--hub_token", token)
            finished = pipeline(
                "art-classification", model=folder, precision="fp32", device="cpu", trust_remote_code=False
            )
            result[strategy] = {"printed": printed, "scores": scores(finished, paintings),
                                "recipe": Path(folder, "recipe.yaml").read_text(),
                                "files": sorted(path.name for path in Path(folder).iterdir())}
        """,
        strategies=STRATEGIES,
        token=tokens["painter"],
        paintings=paintings,
    )


def history(hub, strategy):
    """The commits after the one that makes the repository, oldest first."""
    return list(hub.repository(f"painter/script_{strategy}").history("main"))[::-1][1:]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_commit_holds_what_loads_and_nothing_of_the_machine(hub, author, runs, strategy):
    commits = history(hub, strategy)
    saves = [] if strategy == "end" else ["Training in progress, checkpoint-2", "Training in progress, checkpoint-4"]
    assert [commit.title for commit in commits] == [*saves, "End of training"]
    assert commits[-1].id in runs[strategy]["printed"]
    for commit in commits:
        whole = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "pipeline_semart.py"}
        assert whole <= set(commit.files)
    assert {"README.md", "results.json", "LICENSE"} <= set(commits[-1].files)
    folders = {path.split("/")[0] for path in commits[-1].files if "/" in path}
    kept = {"checkpoint": {"last-checkpoint"}, "all_checkpoints": {"checkpoint-2", "checkpoint-4"}}
    assert folders == kept.get(strategy, set())
    for name, content in hub.files(f"painter/script_{strategy}").items():
        assert str(author.home).encode() not in content, name


def test_the_card_says_what_was_measured(hub, runs):
    files = hub.files("painter/script_end")
    results = json.loads(files["results.json"])
    card = files["README.md"].decode()
    assert results["model"] == "painter/script_end"
    assert f"- seconds: {results['training']['seconds']:,}" in card
    assert 'pipeline("art-classification", model="painter/script_end", trust_remote_code=True)' in card
    assert "num_train_epochs: 2" in card
    assert "hub_" not in card


def test_no_token_is_written_into_the_recipe(runs, tokens):
    for run in runs.values():
        assert "hub_model_id" in run["recipe"]
        assert "token" not in run["recipe"]
        assert tokens["painter"] not in run["printed"]
        assert not [name for name in run["files"] if name.startswith("_")]


def test_a_clean_client_loads_every_commit(hub, clean_client, tokens, runs, paintings):
    names = {strategy: [commit.id for commit in history(hub, strategy)] for strategy in STRATEGIES}
    result = clean_client.run(
        """
        result = {
            strategy: [scores(load(f"painter/script_{strategy}", revision=name, token=token), paintings)
                       for name in ids]
            for strategy, ids in names.items()
        }
        """,
        names=names,
        token=tokens["reader"],
        paintings=paintings,
    )
    for strategy, answers in result.items():
        assert_same_scores(answers[-1], runs[strategy]["scores"])
    first, second, _ = result["every_save"]
    assert first != second
