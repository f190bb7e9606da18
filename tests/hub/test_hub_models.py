"""A model that was pushed, loaded by somebody who never installed the package."""

import json

import pytest
from client_process import ClientError
from hub_people import STRANGER, assert_same_scores

CODE = {
    "configuration_semart.py",
    "modeling_semart.py",
    "lexicon_semart.py",
    "output_semart.py",
    "text_semart.py",
    "towers_semart.py",
    "image_processing_semart.py",
    "pictures_semart.py",
    "processing_semart.py",
    "pipeline_semart.py",
}


def test_the_stranger_has_no_package(stranger):
    with pytest.raises(ClientError, match="No module named 'semart_hf'"):
        stranger.run("import semart_hf")


def test_the_repository_holds_all_that_is_needed_and_nothing_of_the_machine(hub, delft, author):
    files = hub.files(delft["repo"])
    others = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(files) == CODE | others | {".gitattributes", "README.md"}
    config = json.loads(files["config.json"])
    assert config["auto_map"]["AutoModel"] == "modeling_semart.SemArtForArtClassification"
    assert config["custom_pipelines"]["art-classification"]["impl"] == "pipeline_semart.ArtClassificationPipeline"
    for name, content in files.items():
        assert str(author.home).encode() not in content, name


def test_the_pipeline_says_the_same(stranger, delft, paintings):
    result = stranger.run(
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


def test_every_auto_class_loads_and_the_parts_say_the_same(stranger, delft, paintings):
    result = stranger.run(
        """
        from PIL import Image
        config = AutoConfig.from_pretrained(repo, trust_remote_code=True)
        model = AutoModel.from_pretrained(repo, trust_remote_code=True)
        processor = AutoProcessor.from_pretrained(repo, trust_remote_code=True)
        image_processor = AutoImageProcessor.from_pretrained(repo, trust_remote_code=True)
        tokenizer = AutoTokenizer.from_pretrained(repo, trust_remote_code=True)
        picture = Image.open(paintings[0]["image"])
        inputs = processor(images=picture, text=paintings[0]["text"])
        with torch.no_grad():
            logits = model(**inputs).logits
        pixel_values = image_processor(picture, return_tensors="pt")["pixel_values"]
        same_pixels = torch.equal(pixel_values, inputs["pixel_values"])
        tokens = tokenizer(paintings[0]["text"])["input_ids"]
        same_tokens = inputs["input_ids"][0, :len(tokens)].tolist() == tokens
        result = {"scores": [{task: dict(zip(config.labels(task), torch.softmax(values[0], -1).tolist()))
                              for task, values in logits.items()}],
                  "training": model.training, "same": [same_pixels, same_tokens]}
        """,
        repo=delft["repo"],
        paintings=paintings,
    )
    assert_same_scores(result["scores"], delft["scores"][:1])
    assert result["training"] is False
    assert result["same"] == [True, True]


def test_dtype_and_device_map(stranger, delft, paintings):
    result = stranger.run(
        """
        half = AutoModel.from_pretrained(repo, trust_remote_code=True, dtype="bfloat16")
        mapped = pipeline("art-classification", model=repo, trust_remote_code=True, device_map="auto")
        result = {"dtype": str(half.dtype), "scores": scores(mapped, paintings)}
        """,
        repo=delft["repo"],
        paintings=paintings,
    )
    assert result["dtype"] == "torch.bfloat16"
    assert_same_scores(result["scores"], delft["scores"])


def test_without_trust_nothing_of_the_repository_runs(stranger, delft):
    with pytest.raises(ClientError, match="trust_remote_code=True"):
        stranger.run("AutoModel.from_pretrained(repo, trust_remote_code=False)", repo=delft["repo"])


def test_the_package_answers_for_the_repository_with_and_without_trust(author, delft, paintings):
    result = author.run(
        """
        from transformers import AutoModel, pipeline
        result = []
        for trust in (None, False, True):
            pipe = pipeline("art-classification", model=repo, trust_remote_code=trust, device="cpu")
            result.append({"scores": scores(pipe, paintings), "module": type(pipe.model).__module__})
        """,
        repo=delft["repo"],
        paintings=paintings,
    )
    for loaded in result:
        assert loaded["module"] == "semart_hf.model.modeling_semart"
        assert_same_scores(loaded["scores"], delft["scores"])


@pytest.fixture(scope="module")
def revised(author, paintings, delft):
    """The model of another seed pushed over the first, which keeps the tag v1."""
    return author.run(
        """
        from huggingface_hub import HfApi
        HfApi().create_tag("painter/delft", tag="v1")
        model, pipe = build(seed=1)
        pipe.push_to_hub("painter/delft", commit_message="A better model")
        result = scores(pipe, paintings)
        """,
        paintings=paintings,
    )


def test_a_revision_is_what_it_was(hub, stranger, delft, revised, paintings):
    first = hub.repository(delft["repo"]).tags["v1"]
    result = stranger.run(
        "result = [scores(load(repo, revision=name), paintings) for name in revisions]",
        repo=delft["repo"],
        revisions=["v1", first, "main"],
        paintings=paintings,
    )
    assert_same_scores(result[0], delft["scores"])
    assert_same_scores(result[1], delft["scores"])
    assert_same_scores(result[2], revised)
    assert revised != delft["scores"]


def test_without_a_network_the_cache_serves(hub, start_client, stranger, delft, revised, paintings):
    stranger.run("load(repo)", repo=delft["repo"])
    asked = len(hub.requests)
    alone = start_client(home=stranger.home, hidden=("semart_hf",), offline=True)
    alone.run(STRANGER)
    result = alone.run(
        "result = [scores(load(repo, revision=name), paintings) for name in ('main', 'v1')]",
        repo=delft["repo"],
        paintings=paintings,
    )
    assert_same_scores(result[0], revised)
    assert_same_scores(result[1], delft["scores"])
    with pytest.raises(ClientError, match="couldn't find them in the cached files"):
        alone.run("load('painter/never')")
    assert len(hub.requests) == asked


def test_what_was_loaded_from_the_hub_can_be_saved_and_pushed_again(hub, stranger, tokens, delft, revised, paintings):
    result = stranger.run(
        """
        pipe = load(repo, revision="v1")
        pipe.save_pretrained("again")
        pipe.push_to_hub("copies", token=token)
        result = [scores(load(place), paintings) for place in ("again", "visitor/copies")]
        """,
        repo=delft["repo"],
        paintings=paintings,
        token=tokens["visitor"],
    )
    assert_same_scores(result[0], delft["scores"])
    assert_same_scores(result[1], delft["scores"])
    assert set(hub.files("visitor/copies")) == set(hub.files(delft["repo"]))


def test_a_private_model_needs_its_token(author, stranger, tokens, delft, paintings):
    author.run("build(seed=0)[1].push_to_hub('painter/secret_model', private=True)")
    with pytest.raises(ClientError, match="painter/secret_model"):
        stranger.run("load('painter/secret_model')")
    result = stranger.run(
        "result = scores(load('painter/secret_model', token=token), paintings)",
        token=tokens["reader"],
        paintings=paintings,
    )
    assert_same_scores(result, delft["scores"])
