"""The Hub on loopback against the bare huggingface_hub client: what the other tests here stand on."""

import pytest
from client_process import ClientError

CARD = "---\nlicense: apache-2.0\npipeline_tag: image-classification\ntags:\n- art\n---\n# A painter's model\n"


@pytest.fixture
def vermeer(painter):
    """A pushed repository, new for each test: a small text, a folder, and a large file."""
    painter.run(
        """
        folder = Path("vermeer")
        api.delete_repo("painter/vermeer", missing_ok=True)
        (folder / "code").mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(card)
        (folder / "code" / "model.py").write_text("x = 1\\n")
        (folder / "weights.safetensors").write_bytes(bytes(range(256)) * 40)
        create_repo("painter/vermeer")
        result = upload_folder(repo_id="painter/vermeer", folder_path=folder, commit_message="First").oid
    """,
        card=CARD,
    )
    return "painter/vermeer"


def run_error(client, source, **values) -> ClientError:
    with pytest.raises(ClientError) as raised:
        client.run(source, **values)
    return raised.value


def test_whoami_and_wrong_token(painter):
    assert painter.run("result = api.whoami()['name']") == "painter"
    assert painter.run("result = api.whoami(cache=False)['auth']['accessToken']['role']") == "write"
    error = run_error(painter, "HfApi(token='hf_wrong').whoami()")
    assert "Invalid user token" in error.message


def test_a_pushed_folder_comes_back_byte_for_byte(hub, painter, vermeer):
    files = hub.files(vermeer)
    assert set(files) == {".gitattributes", "README.md", "code/model.py", "weights.safetensors"}
    assert files["README.md"] == CARD.encode()
    assert files["weights.safetensors"] == bytes(range(256)) * 40
    downloaded = painter.run("""
        folder = Path(snapshot_download("painter/vermeer"))
        paths = [path for path in folder.rglob("*") if path.is_file()]
        result = {str(path.relative_to(folder)): path.read_bytes().hex() for path in paths}
    """)
    assert {name: bytes.fromhex(content) for name, content in downloaded.items()} == files


def test_large_files_go_to_the_storage_host_without_the_token(hub, painter):
    asked = len(hub.requests)  # other modules' requests, with the faults that they ask for, may stand before
    painter.run("""
        create_repo("painter/large")
        content = bytes(range(255)) * 41
        upload_file(path_or_fileobj=content, path_in_repo="large.safetensors", repo_id="painter/large")
        hf_hub_download("painter/large", "large.safetensors")
    """)
    requests = hub.requests[asked:]
    storage = [request for request in requests if request.server == "storage"]
    assert {request.method for request in storage} == {"PUT", "GET"}
    assert {request.status for request in storage} == {200}
    assert not any("safetensors" in request.path and request.status == 200 for request in requests)


def test_missing_things_have_their_own_errors(painter, vermeer):
    names = {
        "hf_hub_download('painter/vermeer', 'no.txt')": "EntryNotFoundError",
        "hf_hub_download('painter/vermeer', 'README.md', revision='no')": "RevisionNotFoundError",
        "hf_hub_download('painter/no', 'README.md')": "RepositoryNotFoundError",
        "snapshot_download('painter/no')": "RepositoryNotFoundError",
        "api.create_branch('painter/vermeer', branch='b', revision='no')": "RevisionNotFoundError",
        "create_repo('painter/vermeer')": "HfHubHTTPError",
    }
    for source, name in names.items():
        assert name in run_error(painter, source).names, source


def test_private_repositories_are_for_their_owner(hub, painter, tokens):
    painter.run("""
        create_repo("painter/secret", private=True)
        upload_file(repo_id="painter/secret", path_or_fileobj=b"mine", path_in_repo="a.txt")
    """)
    read = "result = Path(hf_hub_download('painter/secret', 'a.txt', token={!r}, cache_dir={!r})).read_text()"
    assert painter.run(read.format(tokens["painter"], "mine")) == "mine"
    assert painter.run(read.format(tokens["reader"], "mine_too")) == "mine"
    for token in (False, tokens["visitor"]):
        error = run_error(painter, read.format(token, "theirs"))
        assert "RepositoryNotFoundError" in error.names
        assert not any(value in error.message + error.report for value in tokens.values() if value != token)
    painter.run("api.update_repo_settings('painter/secret', private=False)")
    assert painter.run(read.format(False, "everybody")) == "mine"


def test_a_stale_parent_is_refused_and_changes_nothing(hub, painter, vermeer):
    painter.run("""
        parent = api.model_info("painter/vermeer").sha
        upload_file(repo_id="painter/vermeer", path_or_fileobj=b"1", path_in_repo="a.txt", parent_commit=parent)
    """)
    before = hub.repository(vermeer).commit_id("main")
    error = run_error(
        painter,
        "upload_file(repo_id='painter/vermeer', path_or_fileobj=b'2', path_in_repo='a.txt', parent_commit=parent)",
    )
    assert "412" in error.message
    assert "A commit has happened since" in error.message
    assert hub.repository(vermeer).commit_id("main") == before
    assert hub.files(vermeer)["a.txt"] == b"1"


def test_a_commit_happens_whole_or_not_at_all(hub, painter, vermeer):
    before = hub.files(vermeer)
    error = run_error(
        painter,
        """
        api.create_commit("painter/vermeer", commit_message="Half", operations=[
            CommitOperationAdd("new.txt", b"new"), CommitOperationDelete("not_there.txt"),
        ])
        """,
    )
    assert "EntryNotFoundError" in error.names
    assert hub.files(vermeer) == before
    painter.run("""
        api.create_commit("painter/vermeer", commit_message="Whole", operations=[
            CommitOperationAdd("new.txt", b"new"), CommitOperationDelete("code/"),
        ])
    """)
    assert set(hub.files(vermeer)) - set(before) == {"new.txt"}
    assert set(before) - set(hub.files(vermeer)) == {"code/model.py"}


@pytest.mark.parametrize(
    ("card", "kind", "message"),
    [
        ("---\ntags: [1, 2]\n---\n", "model", '"tags" must be a string or a list of strings'),
        ("---\nlicense: [\n---\n", "model", "bad YAML"),
        ("---\nmodel-index:\n- name: x\n  results:\n  - task: {}\n---\n", "model", "task.type is required"),
        ("---\nsdk: flask\n---\n", "space", '"sdk" must be one of'),
    ],
)
def test_a_card_with_wrong_metadata_is_refused_before_anything_is_sent(hub, painter, vermeer, card, kind, message):
    source = """
        if kind == "space":
            create_repo("painter/room", repo_type="space", space_sdk="gradio", exist_ok=True)
        upload_file(repo_id="painter/room" if kind == "space" else "painter/vermeer", repo_type=kind,
                    path_or_fileobj=card.encode(), path_in_repo="README.md")
    """
    error = run_error(painter, source, card=card, kind=kind)
    assert "Invalid metadata in README.md" in error.message
    assert message in error.message
    assert hub.files(vermeer)["README.md"] == CARD.encode()


def test_datasets_and_spaces_are_apart_from_models(hub, painter):
    result = painter.run("""
        for kind in ("model", "dataset", "space"):
            create_repo("painter/same", repo_type=kind, space_sdk="gradio" if kind == "space" else None)
            upload_file(repo_id="painter/same", repo_type=kind, path_or_fileobj=kind.encode() + bytes(3),
                        path_in_repo="kind.bin")
        result = [Path(hf_hub_download("painter/same", "kind.bin", repo_type=kind)).read_bytes().hex()
                  for kind in ("model", "dataset", "space")]
        sdk = api.space_info("painter/same").sdk
        delete_repo("painter/same", repo_type="dataset")
        result += [sdk, api.repo_exists("painter/same"), api.repo_exists("painter/same", repo_type="dataset")]
    """)
    assert [bytes.fromhex(content)[:-3] for content in result[:3]] == [b"model", b"dataset", b"space"]
    assert result[3:] == ["gradio", True, False]
