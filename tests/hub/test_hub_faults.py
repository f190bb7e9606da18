"""A Hub and a network that fail: the client tries again or says what is wrong, and no repository loads wrong."""

import time

import pytest
from client_process import ClientError
from hub_people import TOKENS, assert_same_scores, files_with
from loopback_hub import Fault

WEIGHTS = bytes(range(256)) * 400
LARGE_UPLOAD = r"^/uploads/"
LARGE_DOWNLOAD = r"^/contents/"


@pytest.fixture
def push(hub, painter, request):
    """`push(content)`: a repository of the test's own with a small and a large file of this content, in one commit."""
    repo = f"painter/{request.node.name.replace('[', '-').strip(']')}"[:90]
    painter.run("create_repo(repo)", repo=repo)

    def run(content=b"1", parent=None):
        return painter.run(
            """
            folder = Path(repo)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_bytes(bytes.fromhex(content))
            (folder / "weights.safetensors").write_bytes(bytes.fromhex(large))
            result = upload_folder(repo_id=repo, folder_path=folder, parent_commit=parent).oid
            """,
            repo=repo,
            content=content.hex(),
            large=large(repo, content).hex(),
            parent=parent,
        )

    run.repo = repo
    return run


def large(repo, content):
    """Content of the large file; each repository's is another, as the Hub keeps equal ones only once."""
    return WEIGHTS + repo.encode() + content


def assert_holds(hub, repo, content):
    """Whether small and large file are of the same push."""
    files = hub.files(repo)
    assert files["config.json"] == content
    assert files["weights.safetensors"] == large(repo, content)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", LARGE_UPLOAD, status=500),
        Fault("PUT", LARGE_UPLOAD, reset_upload_after=30_000),
        Fault("PUT", LARGE_UPLOAD, lose_answer=True),
        Fault("POST", "/preupload/", status=429, headers={"Retry-After": "0"}),
        Fault("POST", "/objects/batch", status=503),
        Fault("POST", "/lfs/verify", reset_upload_after=0),
    ],
    ids=["500", "reset-upload", "lost-answer", "429", "503", "reset-verify"],
)
def test_a_passing_fault_of_an_upload_is_overcome(hub, painter, push, fault):
    with hub.fault(fault):
        push()
    assert_holds(hub, push.repo, b"1")
    assert [commit.title for commit in hub.repository(push.repo).history("main")] == [
        "Upload folder using huggingface_hub",
        "initial commit",
    ]


def test_the_wait_that_the_hub_asks_for_is_kept(hub, painter, push):
    with hub.fault(Fault("POST", "/preupload/", status=429, headers={"Retry-After": "1"})):
        push()
    assert "Rate limited. Waiting 2.0s before retry" in painter.printed.read_text()


@pytest.mark.parametrize(
    "fault",
    [Fault("POST", "/commit/", status=500), Fault("POST", "/commit/", reset_upload_after=100)],
    ids=["500", "reset"],
)
def test_a_commit_that_fails_leaves_the_repository_as_it_was(hub, painter, push, fault):
    push(b"1")
    with hub.fault(fault), pytest.raises(ClientError) as raised:
        push(b"2")
    assert {"HfHubHTTPError", "NetworkError", "RemoteProtocolError"} & set(raised.value.names)
    assert_holds(hub, push.repo, b"1")
    sent = len(hub.requests)
    push(b"2")
    assert_holds(hub, push.repo, b"2")
    assert not any(request.method == "PUT" for request in hub.requests[sent:])  # the large file was there already


def test_a_commit_whose_answer_was_lost_is_not_made_twice(hub, painter, push):
    with hub.fault(Fault("POST", "/commit/", lose_answer=True)), pytest.raises(ClientError):
        push(b"1")
    assert_holds(hub, push.repo, b"1")
    head = hub.repository(push.repo).commit_id("main")
    assert push(b"1") == head == hub.repository(push.repo).commit_id("main")


def test_a_file_that_changes_while_it_is_uploaded_is_refused(hub, painter, push):
    push(b"1")
    path = painter.home / push.repo / "weights.safetensors"
    change = Fault("POST", "/objects/batch", before=lambda: path.write_bytes(WEIGHTS[::-1] + b"2"))
    with hub.fault(change), pytest.raises(ClientError, match=r"weights\.safetensors") as raised:
        push(b"2")
    assert "sha256" in raised.value.report
    assert_holds(hub, push.repo, b"1")


def test_of_two_pushes_from_the_same_commit_one_wins_whole(hub, painter, start_client, push):
    push(b"0")
    other = start_client(TOKENS["painter"])
    other.run("from huggingface_hub import *")
    source = """
    import time
    operations = [CommitOperationAdd("config.json", name.encode()),
                  CommitOperationAdd("weights.safetensors", bytes.fromhex(large))]
    while time.time() < at:
        time.sleep(0.001)
    try:
        result = [name, create_commit(repo, operations, commit_message=name, parent_commit=parent).oid]
    except HfHubHTTPError as error:
        result = [error.response.status_code, str(error)]
    """
    painter.run("from huggingface_hub.errors import HfHubHTTPError")
    other.run("from huggingface_hub.errors import HfHubHTTPError")
    for turn in range(3):
        parent = hub.repository(push.repo).commit_id("main")
        at = time.time() + 0.2
        for client, name in ((painter, f"a{turn}"), (other, f"b{turn}")):
            content = large(push.repo, name.encode()).hex()
            client.start(source, repo=push.repo, parent=parent, name=name, large=content, at=at)
        answers = [painter.finish(), other.finish()]
        won = [answer for answer in answers if answer[0] != 412]
        lost = [answer for answer in answers if answer[0] == 412]
        assert len(won) == len(lost) == 1
        assert "A commit has happened since" in lost[0][1]
        assert hub.repository(push.repo).commit_id("main") == won[0][1]
        assert_holds(hub, push.repo, won[0][0].encode())


@pytest.mark.parametrize(
    "fault",
    [
        Fault("HEAD", "/resolve/", status=500),
        Fault("GET", LARGE_DOWNLOAD, status=429, headers={"Retry-After": "0"}),
        Fault("GET", LARGE_DOWNLOAD, cut_answer_after=50_000),
    ],
    ids=["500", "429", "cut"],
)
def test_a_passing_fault_of_a_download_is_overcome(hub, painter, push, fault):
    push()
    with hub.fault(fault):
        content = painter.run(
            "result = Path(hf_hub_download(repo, 'weights.safetensors')).read_bytes().hex()", repo=push.repo
        )
    assert bytes.fromhex(content) == large(push.repo, b"1")


def test_a_connection_reset_in_a_download_is_an_error_and_leaves_nothing_behind(hub, painter, push):
    push()
    read = "result = len(Path(hf_hub_download(repo, 'weights.safetensors')).read_bytes())"
    reset = Fault("GET", LARGE_DOWNLOAD, cut_answer_after=50_000, reset=True)
    with hub.fault(reset), pytest.raises(ClientError, match="Connection reset"):
        painter.run(read, repo=push.repo)
    assert painter.run(read, repo=push.repo) == len(large(push.repo, b"1"))


def test_a_wrong_size_is_an_error_and_leaves_nothing_behind(hub, painter, push):
    push()
    lie = Fault("HEAD", "/resolve/", headers={"X-Linked-Size": str(len(WEIGHTS))})
    read = "result = len(Path(hf_hub_download(repo, 'weights.safetensors')).read_bytes())"
    with hub.fault(lie), pytest.raises(ClientError, match="Consistency check failed"):
        painter.run(read, repo=push.repo)
    assert painter.run(read, repo=push.repo) == len(large(push.repo, b"1"))


def test_spoiled_bytes_are_found_by_their_hash(hub, painter, push):
    """The client compares sizes, not hashes, as it downloads; its own check of the cache compares hashes."""
    push()
    check = """
    hf_hub_download(repo, "weights.safetensors")
    found = api.verify_repo_checksums(repo)
    result = [mismatch["path"] for mismatch in found.mismatches]
    """
    with hub.fault(Fault("GET", LARGE_DOWNLOAD, spoil=True)):
        assert painter.run(check, repo=push.repo) == ["weights.safetensors"]


@pytest.fixture
def pushed_model(author, paintings):
    """`pushed_model(repo)`: what the model that lies there now said before."""
    source = """
    model, pipe = build(seed=5)
    pipe.push_to_hub(repo)
    result = scores(pipe, paintings)
    """
    return lambda repo: author.run(source, repo=repo, paintings=paintings)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("HEAD", r"resolve/.*modeling_semart\.py", status=503),
        Fault("GET", LARGE_DOWNLOAD, cut_answer_after=100_000),
        Fault("GET", r"resolve-cache/.*towers_semart\.py", status=429, headers={"Retry-After": "0"}),
    ],
    ids=["503", "cut", "429"],
)
def test_a_model_loads_right_through_a_passing_fault(hub, clean_client, paintings, pushed_model, fault, request):
    repo = f"painter/model-{request.node.callspec.id}"
    expected = pushed_model(repo)
    with hub.fault(fault):
        assert_same_scores(
            clean_client.run("result = scores(load(repo), paintings)", repo=repo, paintings=paintings), expected
        )


def test_a_model_that_does_not_arrive_is_an_error_until_it_does(hub, clean_client, paintings, pushed_model):
    expected = pushed_model("painter/model-late")
    lie = Fault("HEAD", r"model\.safetensors", times=9, headers={"X-Linked-Size": "1000"})
    load = "result = scores(load('painter/model-late'), paintings)"
    with hub.fault(lie), pytest.raises(ClientError, match="Consistency check failed"):
        clean_client.run(load, paintings=paintings)
    assert_same_scores(clean_client.run(load, paintings=paintings), expected)


def test_the_debug_log_hides_the_token(hub, start_client):
    client = start_client(TOKENS["painter"], environment={"HF_DEBUG": "1"})
    client.run("from huggingface_hub import whoami; whoami()")
    printed = client.printed.read_text()
    assert "/api/whoami-v2" in printed
    assert "<TOKEN>" in printed
    assert TOKENS["painter"] not in printed


def test_the_search_for_tokens_finds_one(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file.bin").write_bytes(b"\0" + TOKENS["reader"].encode() + b"\0")
    assert files_with(TOKENS.values(), tmp_path) == [str(tmp_path / "below" / "file.bin")]
