import pytest
from client_process import ClientError
from hub_people import assert_same_scores
from loopback_hub import Fault


@pytest.fixture
def push(author, request):
    """`push(content)`: a small and a large file of this content in a repository of the test's own, in one commit."""
    repo = f"painter/{request.node.name.replace('[', '-').strip(']')}"

    def run(content):
        return author.run(
            """
            from semart_hf.publishing.pushing import push_folder
            folder = Path(repo)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "README.md").write_text(f"---\\nlicense: other\\n---\\n{content}")
            (folder / "weights.safetensors").write_text(f"{repo} {content}")
            result = push_folder(folder, repo, "Push").oid
            """,
            repo=repo,
            content=content,
        )

    run.repo = repo
    return run


def assert_holds(hub, repo, content):
    files = hub.files(repo)
    assert files["README.md"].decode().endswith(content)
    assert files["weights.safetensors"].decode() == f"{repo} {content}"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", "^/uploads/", status=500),
        Fault("PUT", "^/uploads/", lose_answer=True),
        Fault("POST", "/preupload/", status=429, headers={"Retry-After": "0"}),
        Fault("POST", "/objects/batch", status=503),
    ],
    ids=["500", "lost-answer", "429", "503"],
)
def test_a_passing_fault_of_an_upload_is_overcome(hub, push, fault):
    with hub.fault(fault):
        push("one")
    assert_holds(hub, push.repo, "one")
    assert [commit.title for commit in hub.repository(push.repo).commits] == ["initial commit", "Push"]


def test_a_commit_that_fails_leaves_the_repository_as_it_was_and_is_made_by_the_next_push(hub, push):
    push("one")
    with hub.fault(Fault("POST", "/commit/", status=500)), pytest.raises(ClientError, match="500"):
        push("two")
    assert_holds(hub, push.repo, "one")
    sent = len(hub.requests)
    push("two")
    assert_holds(hub, push.repo, "two")
    assert not any(request.method == "PUT" for request in hub.requests[sent:])  # the large file was there already


def test_a_commit_whose_answer_was_lost_is_not_made_twice(hub, push):
    with hub.fault(Fault("POST", "/commit/", lose_answer=True)), pytest.raises(ClientError):
        push("one")
    assert_holds(hub, push.repo, "one")
    assert push("one") == hub.repository(push.repo).commit().id
    assert len(hub.repository(push.repo).commits) == 2


def test_somebody_elses_commit_meanwhile_stops_the_push(hub, push):
    push("one")
    repository = hub.repository(push.repo)
    files = dict(repository.commit().files)
    meanwhile = Fault("POST", "/commit/", before=lambda: repository.add_commit("Theirs", files))
    with hub.fault(meanwhile), pytest.raises(ClientError, match=f"Got another commit to {push.repo}"):
        push("two")
    assert repository.commit().title == "Theirs"
    assert_holds(hub, push.repo, "one")


@pytest.fixture
def pushed_model(author, paintings):
    """`pushed_model(repo)`: the scores of the model that lies there now."""
    source = """
    model, pipe = build(seed=5)
    pipe.push_to_hub(repo)
    result = scores(pipe, paintings)
    """
    return lambda repo: author.run(source, repo=repo, paintings=paintings)


LOAD = "result = scores(load(repo), paintings)"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("HEAD", r"resolve/.*modeling_semart\.py", status=503),
        Fault("GET", "^/contents/", cut_answer_after=100_000),
        Fault("GET", r"resolve/.*towers_semart\.py", status=429, headers={"Retry-After": "0"}),
    ],
    ids=["503", "cut", "429"],
)
def test_a_model_loads_right_through_a_passing_fault(hub, clean_client, paintings, pushed_model, fault, request):
    repo = f"painter/model-{request.node.callspec.id}"
    expected = pushed_model(repo)
    with hub.fault(fault):
        assert_same_scores(clean_client.run(LOAD, repo=repo, paintings=paintings), expected)


def test_a_model_that_does_not_arrive_is_an_error_until_it_does(hub, clean_client, paintings, pushed_model):
    repo = "painter/model-late"
    expected = pushed_model(repo)
    wrong_size = Fault("HEAD", r"model\.safetensors", times=9, headers={"X-Linked-Size": "1000"})
    with hub.fault(wrong_size), pytest.raises(ClientError, match="Consistency check failed"):
        clean_client.run(LOAD, repo=repo, paintings=paintings)
    assert_same_scores(clean_client.run(LOAD, repo=repo, paintings=paintings), expected)
