"""`scripts/push_to_hub.py --push` against the Hub on loopback: checked, sent in one commit, loaded back."""

from pathlib import Path

import pytest
from client_process import ClientError
from hub_people import assert_same_scores
from loopback_hub import Fault

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "push_to_hub.py"
PUSH = """
import contextlib, io, runpy, sys
from semart_hf.publishing.repository import write_repository

def push_to_hub(*words):
    printed, before = io.StringIO(), list(sys.path)
    sys.argv = ["push_to_hub.py", *words]
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(script, run_name="__main__")
    finally:
        sys.path[:] = before
    return printed.getvalue()
"""


@pytest.fixture(scope="module")
def published(author, paintings):
    """A private model with a Space that serves it, what was printed, and what the model says."""
    author.run(PUSH, script=str(SCRIPT))
    return author.run(
        """
        model, pipe = build(seed=7)
        write_repository(model, pipe.processor, "trained")
        printed = push_to_hub("--model", "trained", "--repo_id", "painter/published", "--private", "--push",
                              "--space", "painter/showroom", "--output_dir", "assembled/model")
        result = {"printed": printed, "scores": scores(pipe, paintings)}
        """,
        paintings=paintings,
    )


def test_the_repository_is_sent_in_one_commit_and_loaded_back(hub, author, published):
    repository = hub.repository("painter/published")
    assert [commit.title for commit in repository.history("main")] == [
        "Publish the model with its code and card",
        "initial commit",
    ]
    assert repository.private
    files = hub.files("painter/published")
    sent = {name for name in files if name != ".gitattributes"}
    assembled = author.home / "assembled" / "model"
    assert sent == {str(path.relative_to(assembled)) for path in assembled.rglob("*") if path.is_file()}
    assert {"README.md", "config.json", "model.safetensors", "pipeline_semart.py"} <= sent
    assert not any(name.endswith((".bin", ".pt", ".pth", ".pkl")) for name in sent)
    head = repository.commit_id("main")
    assert f"Loading painter/published back at {head}" in published["printed"]
    loaded_back = published["printed"].partition("back at")[2]
    assert "on the Hub as in the folder, by their hashes" in loaded_back
    assert "those of the original" in loaded_back


def test_the_space_serves_the_model_at_the_pushed_revision(hub, published):
    files = hub.files("painter/showroom", kind="spaces")
    assert hub.repository("painter/showroom", "spaces").sdk == "gradio"
    assert hub.repository("painter/showroom", "spaces").private
    assert {"README.md", "app.py", "requirements.txt"} <= set(files)
    head = hub.repository("painter/published").commit_id("main").encode()
    assert any(head in content for content in files.values())


def test_a_clean_client_with_the_token_gets_the_same_scores(clean_client, tokens, published, paintings):
    result = clean_client.run(
        "result = scores(load('painter/published', token=token), paintings)",
        token=tokens["reader"],
        paintings=paintings,
    )
    assert_same_scores(result, published["scores"])


def test_somebody_elses_commit_meanwhile_stops_the_push(hub, author, painter):
    painter.run("create_repo('painter/meanwhile')")
    before = hub.files("painter/meanwhile")

    def interfere():
        painter.run("upload_file(repo_id='painter/meanwhile', path_or_fileobj=b'hello', path_in_repo='NOTES.md')")

    push = """
    from semart_hf.publishing.upload import Destination, push_folder
    Path("mine").mkdir()
    (Path("mine") / "README.md").write_text("---\\nlicense: apache-2.0\\n---\\n# Mine\\n")
    push_folder(Path("mine"), Destination("painter/meanwhile"), "Again")
    """
    meanwhile = Fault("POST", "painter/meanwhile/commit/", before=interfere)
    with hub.fault(meanwhile), pytest.raises(ClientError, match="Got another commit to painter/meanwhile"):
        author.run(push)
    assert hub.files("painter/meanwhile") == {**before, "NOTES.md": b"hello"}


@pytest.fixture(scope="module")
def sent(author):
    """The revision of painter/sent, a model that also lies in the folder `sent`."""
    return author.run(
        """
        from huggingface_hub import create_repo, upload_folder
        from semart_hf.publishing.check import check_published
        model, pipe = build(seed=8)
        pipe.save_pretrained("sent")
        create_repo("painter/sent")
        result = upload_folder(repo_id="painter/sent", folder_path="sent").oid
        """
    )


CHECK = "list(check_published(Path('sent'), 'painter/sent', head, model, pipe.processor))"


def test_weights_that_come_back_spoiled_fail_the_check(hub, author, sent):
    with hub.fault(Fault("GET", "^/contents/", spoil=True)), pytest.raises(ClientError) as raised:
        author.run(CHECK, head=sent)
    assert raised.value.names[0] == "CheckError"
    assert raised.value.message.startswith(
        "The repository is on the Hub, but must not be used, because of its scores."
    )


def test_files_that_are_others_on_the_hub_fail_the_check(author, sent):
    author.run("import shutil; shutil.copytree('sent', 'changed')")
    author.run("Path('changed/config.json').write_text('{}'); Path('changed/notes.txt').write_text('mine')")
    with pytest.raises(ClientError, match=r"because of its files\. Got \['config\.json', 'notes\.txt'\] with other"):
        author.run(CHECK.replace("'sent'", "'changed'"), head=sent)
