"""A model that was pushed, loaded by somebody who never installed the package."""

import json
from pathlib import Path

import pytest
from client_process import ClientError
from hub_people import LOADING, assert_same_scores, assert_whole

from semart_hf.model import pipeline_semart

CODE = {path.name for path in Path(pipeline_semart.__file__).parent.glob("*_semart.py")}
# Whose code runs: the repository's own, or the package's where it is installed.
HOMES = {"clean_client": "transformers_modules.", "author": "semart_hf.model"}


def test_the_clean_client_has_no_package(clean_client):
    with pytest.raises(ClientError, match="No module named 'semart_hf'"):
        clean_client.run("import semart_hf")


def test_the_repository_holds_all_that_is_needed_and_nothing_of_the_machine(hub, delft, author):
    files = hub.files(delft["repo"])
    others = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(files) == CODE | others | {".gitattributes", "README.md"}
    config = json.loads(files["config.json"])
    assert config["auto_map"]["AutoModel"] == "modeling_semart.SemArtForArtClassification"
    assert config["custom_pipelines"]["art-classification"]["impl"] == "pipeline_semart.ArtClassificationPipeline"
    for name, content in files.items():
        assert str(author.home).encode() not in content, name


def test_the_pipeline_says_the_same(clean_client, delft, paintings):
    result = clean_client.run(
        """
        pipe = load(repo)
        result = {"scores": scores(pipe, paintings), "module": type(pipe.model).__module__,
                  "pipeline": type(pipe).__name__, "dtype": str(pipe.model.dtype)}
        """,
        repo=delft["repo"],
        paintings=paintings,
    )
    assert_same_scores(result["scores"], delft["scores"])
    assert result["module"].startswith("transformers_modules.")
    assert (result["pipeline"], result["dtype"]) == ("ArtClassificationPipeline", "torch.float32")
    assert delft["scores"][0] != delft["scores"][1]


@pytest.fixture(scope="module")
def folder(author, delft) -> str:
    """The model of painter/delft in a folder."""
    author.run("build(seed=0)[1].save_pretrained('delft')")
    return str(author.home / "delft")


@pytest.mark.parametrize("kind", ["repository", "folder"])
@pytest.mark.parametrize("who", ["clean_client", "author"])
def test_every_auto_class_loads_and_the_parts_say_the_same(request, who, kind, delft, folder, paintings):
    loaded = request.getfixturevalue(who).run(
        "result = load_everything(place, paintings, trust_remote_code=trust)",
        place=folder if kind == "folder" else delft["repo"],
        paintings=paintings,
        trust=who == "clean_client",
    )
    assert_whole(loaded, delft["scores"], home=HOMES[who])


def test_dtype_and_placement(clean_client, delft, paintings):
    result = clean_client.run(
        """
        choices = [{"dtype": "float16", "device": "cpu"}, {"dtype": torch.bfloat16, "device": -1},
                   {"dtype": "auto", "device": torch.device("cpu")}, {"device_map": "auto"}, {"device_map": "cpu"}]
        result = []
        for options in choices:
            pipe = pipeline("art-classification", model=repo, precision="fp32", trust_remote_code=True, **options)
            values = [value for value in pipe.model.state_dict().values() if value.is_floating_point()]
            model = AutoModel.from_pretrained(
                repo, trust_remote_code=True, **{name: value for name, value in options.items() if name != "device"})
            result.append({
                "dtypes": sorted({str(value.dtype) for value in [*values, model.absent_text]}),
                "devices": sorted({value.device.type for value in [*values, model.absent_text]}),
                "scores": scores(pipe, paintings),
            })
        """,
        repo=delft["repo"],
        paintings=paintings,
    )
    # In float16 what few numbers decide, fusion and heads, stays in float32.
    assert [loaded["dtypes"] for loaded in result[:2]] == [["torch.float16", "torch.float32"], ["torch.bfloat16"]]
    assert all(loaded["dtypes"] == ["torch.float32"] for loaded in result[2:])
    assert all(loaded["devices"] == ["cpu"] for loaded in result)
    for loaded, tolerance in zip(result, (5e-3, 5e-2, 1e-5, 1e-5, 1e-5), strict=True):
        assert_same_scores(loaded["scores"], delft["scores"], tolerance)


def test_without_trust_nothing_of_the_repository_runs(clean_client, delft):
    with pytest.raises(ClientError, match="trust_remote_code=True"):
        clean_client.run("AutoModel.from_pretrained(repo, trust_remote_code=False)", repo=delft["repo"])


def test_the_package_answers_for_the_repository_with_and_without_trust(author, delft, paintings):
    result = author.run(
        """
        from transformers import AutoModel, pipeline
        result = []
        for trust in (None, False, True):
            pipe = pipeline("art-classification", model=repo, precision="fp32", trust_remote_code=trust, device="cpu")
            result.append({"scores": scores(pipe, paintings), "module": type(pipe.model).__module__})
        """,
        repo=delft["repo"],
        paintings=paintings,
    )
    for loaded in result:
        assert loaded["module"] == "semart_hf.model.modeling_semart"
        assert_same_scores(loaded["scores"], delft["scores"])


@pytest.fixture(scope="module")
def revised(author, paintings):
    """A repository of its own: delft's model with the tag v1, over it the model of another seed, and its scores."""
    return author.run(
        """
        from huggingface_hub import HfApi
        build(seed=0)[1].push_to_hub("painter/revised", commit_message="A model")
        HfApi().create_tag("painter/revised", tag="v1")
        model, pipe = build(seed=1)
        pipe.push_to_hub("painter/revised", commit_message="A better model")
        result = {"repo": "painter/revised", "scores": scores(pipe, paintings)}
        """,
        paintings=paintings,
    )


@pytest.mark.parametrize("who", ["clean_client", "author"])
def test_a_revision_is_what_it_was(hub, request, who, delft, revised, paintings):
    first = hub.repository(revised["repo"]).tags["v1"]
    loaded = request.getfixturevalue(who).run(
        """
        result = {name: load_everything(repo, paintings, revision=name, trust_remote_code=trust) for name in revisions}
        """,
        repo=revised["repo"],
        revisions=["v1", first, "main"],
        paintings=paintings,
        trust=who == "clean_client",
    )
    assert_whole(loaded["v1"], delft["scores"], home=HOMES[who])
    assert_whole(loaded[first], delft["scores"], home=HOMES[who])
    assert_whole(loaded["main"], revised["scores"], home=HOMES[who])
    assert revised["scores"] != delft["scores"]


@pytest.mark.parametrize("who", ["clean_client", "author"])
def test_without_a_network_the_cache_serves(hub, start_client, request, who, delft, revised, paintings):
    before = request.getfixturevalue(who)
    load = """
    result = [load_everything(repo, paintings, revision=name, trust_remote_code=trust) for name in ("main", "v1")]
    """
    values = {"repo": revised["repo"], "paintings": paintings, "trust": who == "clean_client"}
    before.run(load, **values)
    asked = len(hub.requests)
    alone = start_client(home=before.home, hidden=("semart_hf",) if who == "clean_client" else (), offline=True)
    alone.run(LOADING if who == "clean_client" else f"import semart_hf\n{LOADING}")
    main, first = alone.run(load, **values)
    assert_whole(main, revised["scores"], home=HOMES[who])
    assert_whole(first, delft["scores"], home=HOMES[who])
    with pytest.raises(ClientError, match="couldn't find them in the cached files"):
        alone.run("load_everything('painter/never', paintings, trust_remote_code=trust)")
    assert len(hub.requests) == asked


def test_what_was_loaded_can_be_saved_and_pushed_again(hub, clean_client, tokens, delft, revised, paintings):
    result = clean_client.run(
        """
        pipe = load(repo, revision="v1")
        pipe.save_pretrained("again")
        pipe.push_to_hub("copies", token=token)
        result = [scores(load(place), paintings) for place in ("again", "visitor/copies")]
        """,
        repo=revised["repo"],
        paintings=paintings,
        token=tokens["visitor"],
    )
    assert_same_scores(result[0], delft["scores"])
    assert_same_scores(result[1], delft["scores"])
    assert set(hub.files("visitor/copies")) == set(hub.files(revised["repo"]))


def test_a_private_model_needs_its_token(author, clean_client, tokens, delft, paintings):
    author.run("build(seed=0)[1].push_to_hub('painter/secret_model', private=True)")
    with pytest.raises(ClientError, match="painter/secret_model"):
        clean_client.run("load('painter/secret_model')")
    result = clean_client.run(
        "result = scores(load('painter/secret_model', token=token), paintings)",
        token=tokens["reader"],
        paintings=paintings,
    )
    assert_same_scores(result, delft["scores"])
