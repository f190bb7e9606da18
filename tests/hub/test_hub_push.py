from pathlib import Path

import pytest
from client_process import ClientError
from hub_people import RUN_SCRIPT

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "push_to_hub.py"


@pytest.fixture(scope="module")
def published(author, paintings):
    """A private model with a Space that serves it, what was printed, and the model's scores."""
    author.run(RUN_SCRIPT)
    return author.run(
        """
        from semart_hf.publishing import check
        from semart_hf.model.pipeline_semart import save_repository
        check.check_repository = lambda *arguments: ()  # which tests/publishing shows
        model, pipe = build(seed=7)
        save_repository(model, pipe.processor, "trained")
        printed = run_script(script, "--model", "trained", "--repo_id", "painter/published", "--private", "--push",
                             "--space", "painter/showroom", "--output_dir", "assembled/model")
        result = {"printed": printed, "scores": scores(pipe, paintings)}
        """,
        script=str(SCRIPT),
        paintings=paintings,
    )


def test_the_repository_is_sent_in_one_commit_and_the_space_serves_its_revision(hub, author, published):
    repository = hub.repository("painter/published")
    assert [commit.title for commit in repository.commits] == ["initial commit", "Publish the model"]
    assert repository.private
    sent = hub.files("painter/published").keys() - {".gitattributes"}
    assembled = author.home / "assembled" / "model"
    assert sent == {str(path.relative_to(assembled)) for path in assembled.rglob("*") if path.is_file()}
    assert {"README.md", "config.json", "model.safetensors", "pipeline_semart.py"} <= sent
    assert f"Loading painter/published back at {repository.commit().id}" in published["printed"]
    loaded_back = published["printed"].partition("back at")[2]
    assert "on the Hub as in the folder, by their hashes" in loaded_back
    assert "those of the original" in loaded_back
    files = hub.files("painter/showroom", kind="spaces")
    assert hub.repository("painter/showroom", "spaces").sdk == "gradio"
    assert hub.repository("painter/showroom", "spaces").private
    assert {"README.md", "app.py", "requirements.txt"} <= set(files)
    assert hub.repository("painter/published").commit().id.encode() in files["app.py"]


def test_files_that_are_others_on_the_hub_fail_the_check(author, published):
    with pytest.raises(ClientError, match=r"because of its files\. Got \['config\.json', 'notes\.txt'\] with other"):
        author.run(
            """
            import shutil
            shutil.copytree("assembled/model", "changed")
            Path("changed/config.json").write_text("{}")
            Path("changed/notes.txt").write_text("mine")
            list(check.check_published(Path("changed"), "painter/published", "main", model, pipe.processor))
            """
        )
