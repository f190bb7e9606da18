from pathlib import Path

import pytest
from client_process import ClientError
from hub_people import LOADING, TOKENS, assert_same_scores, assert_whole

from semart_hf.model import pipeline_semart

CODE = {path.name for path in Path(pipeline_semart.__file__).parent.glob("*_semart.py")}
# Whose code runs: the repository's own, or the package's where it is installed.
HOMES = {"clean_client": "transformers_modules.", "author": "semart_hf.model"}


@pytest.fixture(params=HOMES)
def user(request):
    """The name of a user, who trusts remote code only where the package is not installed, and the interpreter."""
    return request.param, request.getfixturevalue(request.param)


def test_the_repository_holds_all_that_is_needed_and_nothing_of_the_machine(hub, delft, author):
    files = hub.files(delft["repo"])
    others = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(files) == CODE | others | {".gitattributes", "README.md"}
    for name, content in files.items():
        assert str(author.home).encode() not in content, name


@pytest.fixture(scope="module")
def folder(author, delft) -> str:
    author.run("build(seed=0)[1].save_pretrained('delft')")
    return str(author.home / "delft")


@pytest.mark.parametrize("kind", ["repository", "folder"])
def test_every_auto_class_loads_and_the_parts_answer_alike(user, kind, delft, folder, paintings):
    name, client = user
    loaded = client.run(
        "result = load_everything(place, paintings, trust_remote_code=trust)",
        place=folder if kind == "folder" else delft["repo"],
        paintings=paintings,
        trust=name == "clean_client",
    )
    assert_whole(loaded, delft["scores"], home=HOMES[name])
    assert delft["scores"][0] != delft["scores"][1]


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"dtype": "float16", "device": "cpu"}, 5e-3),
        ({"dtype": "bfloat16", "device": -1}, 5e-2),
        ({"device_map": "auto"}, 1e-5),
    ],
)
def test_dtype_and_placement(clean_client, delft, paintings, options, tolerance):
    found = clean_client.run(
        """
        pipe = pipeline("art-classification", model=repo, precision="fp32", trust_remote_code=True, **options)
        result = {"dtype": str(pipe.model.dtype), "scores": scores(pipe, paintings)}
        """,
        repo=delft["repo"],
        options=options,
        paintings=paintings,
    )
    assert found["dtype"] == f"torch.{options.get('dtype', 'float32')}"
    assert_same_scores(found["scores"], delft["scores"], tolerance)


def test_without_trust_or_token_nothing_is_loaded(clean_client, delft, author, paintings):
    with pytest.raises(ClientError, match="trust_remote_code=True"):
        clean_client.run("AutoModel.from_pretrained(repo, trust_remote_code=False)", repo=delft["repo"])
    author.run("build(seed=0)[1].push_to_hub('painter/secret_model', private=True)")
    load = "result = scores(load('painter/secret_model', token=token), paintings)"
    for token in (None, TOKENS["visitor"]):
        with pytest.raises(ClientError, match="painter/secret_model"):
            clean_client.run(load, token=token, paintings=paintings)
    result = clean_client.run(load, token=TOKENS["painter"], paintings=paintings)
    assert_same_scores(result, delft["scores"])


@pytest.fixture(scope="module")
def revised(author, paintings):
    """A repository of its own: delft's model, over it the model of another seed; the first commit, and the scores."""
    return author.run(
        """
        first = build(seed=0)[1].push_to_hub("painter/revised", commit_message="A model").oid
        model, pipe = build(seed=1)
        pipe.push_to_hub("painter/revised", commit_message="A better model")
        result = {"repo": "painter/revised", "first": first, "scores": scores(pipe, paintings)}
        """,
        paintings=paintings,
    )


def test_a_revision_is_what_it_was_and_the_cache_serves(hub, start_client, clean_client, delft, revised, paintings):
    load = """
    result = [load_everything(repo, paintings, revision=name, trust_remote_code=True) for name in ("main", first)]
    """
    values = {"repo": revised["repo"], "first": revised["first"], "paintings": paintings}
    online = clean_client.run(load, **values)
    asked = len(hub.requests)
    alone = start_client(home=clean_client.home, hidden=("semart_hf",), offline=True)
    alone.run(LOADING)
    offline = alone.run(load, **values)
    with pytest.raises(ClientError, match="couldn't find them in the cached files"):
        alone.run("load_everything('painter/never', paintings, trust_remote_code=True)")
    assert len(hub.requests) == asked
    for newest, first in (online, offline):
        assert_whole(newest, revised["scores"], home=HOMES["clean_client"])
        assert_whole(first, delft["scores"], home=HOMES["clean_client"])
    assert revised["scores"] != delft["scores"]


def test_what_was_loaded_can_be_saved_and_pushed_again(hub, clean_client, delft, revised, paintings):
    result = clean_client.run(
        """
        pipe = load(repo, revision=first)
        pipe.save_pretrained("again")
        pipe.push_to_hub("copies", token=token)
        result = [scores(load(place), paintings) for place in ("again", "visitor/copies")]
        """,
        repo=revised["repo"],
        first=revised["first"],
        paintings=paintings,
        token=TOKENS["visitor"],
    )
    assert_same_scores(result[0], delft["scores"])
    assert_same_scores(result[1], delft["scores"])
    assert set(hub.files("visitor/copies")) == set(hub.files(revised["repo"]))
