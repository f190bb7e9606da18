"""The Hub on loopback against the bare huggingface_hub client: what the other tests here stand on."""

import hashlib

import pytest
from client_process import ClientError

CARD = "---\nlicense: apache-2.0\npipeline_tag: image-classification\ntags:\n- art\n---\n# A painter's model\n"


@pytest.fixture(scope="module")
def vermeer(painter):
    """A pushed repository: a small text, a folder, and a large file."""
    painter.run(
        """
        folder = Path("vermeer")
        (folder / "code").mkdir(parents=True)
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


def test_file_metadata(hub, painter, vermeer):
    metadata = painter.run("""
        result = {}
        for name in ("README.md", "weights.safetensors"):
            found = get_hf_file_metadata(hf_hub_url("painter/vermeer", name))
            result[name] = [found.etag, found.size, found.commit_hash]
    """)
    head = hub.repository(vermeer).commit_id("main")
    content = CARD.encode()
    git_oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    assert metadata["README.md"] == [git_oid, len(content), head]
    weights = bytes(range(256)) * 40
    assert metadata["weights.safetensors"] == [hashlib.sha256(weights).hexdigest(), len(weights), head]


def test_information_and_tree(hub, painter, vermeer):
    hub.page_size = 2  # three pages
    try:
        result = painter.run("""
            info = api.model_info("painter/vermeer", files_metadata=True)
            tree = list(api.list_repo_tree("painter/vermeer", recursive=True))
            result = {
                "sha": info.sha, "tag": info.pipeline_tag, "license": info.card_data.license,
                "sizes": {sibling.rfilename: sibling.size for sibling in info.siblings},
                "tree": {entry.path: type(entry).__name__ for entry in tree},
                "top": [entry.path for entry in api.list_repo_tree("painter/vermeer")],
                "code": [entry.path for entry in api.list_repo_tree("painter/vermeer", "code")],
                "paths": [entry.path for entry in api.get_paths_info("painter/vermeer", ["code", "README.md", "no"])],
                "exists": [api.file_exists("painter/vermeer", name) for name in ("README.md", "no")],
            }
        """)
    finally:
        hub.page_size = 1000
    assert result["sha"] == hub.repository(vermeer).commit_id("main")
    assert (result["tag"], result["license"]) == ("image-classification", "apache-2.0")
    assert result["sizes"]["weights.safetensors"] == 10240
    assert result["tree"] == {
        "code": "RepoFolder",
        ".gitattributes": "RepoFile",
        "README.md": "RepoFile",
        "code/model.py": "RepoFile",
        "weights.safetensors": "RepoFile",
    }
    assert sorted(result["top"]) == [".gitattributes", "README.md", "code", "weights.safetensors"]
    assert result["code"] == ["code/model.py"]
    assert sorted(result["paths"]) == ["README.md", "code"]
    assert result["exists"] == [True, False]


def test_unchanged_files_make_no_commit(hub, painter, vermeer):
    before = hub.repository(vermeer).commit_id("main")
    again = painter.run("result = upload_folder(repo_id='painter/vermeer', folder_path='vermeer').oid")
    assert again == before == hub.repository(vermeer).commit_id("main")


def test_branches_tags_and_history(hub, painter, vermeer):
    result = painter.run("""
        first = api.model_info("painter/vermeer").sha
        api.create_tag("painter/vermeer", tag="v1")
        api.create_branch("painter/vermeer", branch="try/new")
        api.upload_file(repo_id="painter/vermeer", path_or_fileobj=b"x = 2\\n", path_in_repo="code/model.py",
                        revision="try/new", commit_message="Change")
        refs = api.list_repo_refs("painter/vermeer")
        revisions = ["main", "v1", "try/new", first]
        paths = [hf_hub_download("painter/vermeer", "code/model.py", revision=revision) for revision in revisions]
        result = {
            "branches": {ref.name: ref.target_commit for ref in refs.branches},
            "tags": {ref.name: ref.target_commit for ref in refs.tags},
            "texts": [Path(path).read_text() for path in paths],
            "titles": [commit.title for commit in api.list_repo_commits("painter/vermeer", revision="try/new")],
            "first": first,
        }
        api.delete_tag("painter/vermeer", tag="v1")
        api.delete_branch("painter/vermeer", branch="try/new")
    """)
    assert result["tags"] == {"v1": result["first"]}
    assert result["branches"]["main"] == result["first"] != result["branches"]["try/new"]
    assert result["texts"] == ["x = 1\n", "x = 1\n", "x = 2\n", "x = 1\n"]
    assert result["titles"] == ["Change", "First", "initial commit"]
    assert set(hub.repository(vermeer).branches) == {"main"}


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


def test_gated_repositories_show_but_do_not_give(hub, painter, tokens, vermeer):
    painter.run("api.update_repo_settings('painter/vermeer', gated='manual')")
    try:
        read = (
            f"result = hf_hub_download('painter/vermeer', 'README.md', token={tokens['visitor']!r}, cache_dir='gate')"
        )
        assert "GatedRepoError" in run_error(painter, read).names
        assert (
            painter.run(f"result = api.model_info('painter/vermeer', token={tokens['visitor']!r}).gated") == "manual"
        )
        hub.admitted.add((vermeer, "visitor"))
        assert painter.run(read).endswith("README.md")
    finally:
        painter.run("api.update_repo_settings('painter/vermeer', gated=False)")


def test_who_may_write(painter, tokens, vermeer):
    write = "upload_file(repo_id='painter/vermeer', path_or_fileobj=b'x', path_in_repo='x.txt', token={!r})"
    assert "403 Forbidden" in run_error(painter, write.format(tokens["reader"])).message
    assert "403 Forbidden" in run_error(painter, write.format(tokens["visitor"])).message
    assert "401" in run_error(painter, write.format(False)).message
    assert "403" in run_error(painter, "create_repo('visitor/mine')").message


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


def test_a_pull_request_leaves_the_branch_alone(hub, painter, vermeer):
    before = hub.repository(vermeer).commit_id("main")
    url = painter.run("""
        done = upload_file(repo_id="painter/vermeer", path_or_fileobj=b"pr", path_in_repo="pr.txt", create_pr=True)
        result = done.pr_url
    """)
    assert url.endswith("/painter/vermeer/discussions/1")
    assert hub.repository(vermeer).commit_id("main") == before
    assert hub.files(vermeer, "refs/pr/1")["pr.txt"] == b"pr"


def test_a_large_file_goes_up_in_parts(hub, painter, vermeer):
    hub.part_size = 1000
    asked = len(hub.requests)
    try:
        painter.run("upload_file(repo_id='painter/vermeer', path_or_fileobj=bytes(3500), path_in_repo='parts.bin')")
    finally:
        hub.part_size = 2**40
    assert hub.files(vermeer)["parts.bin"] == bytes(3500)
    requests = hub.requests[asked:]
    puts = [request.path for request in requests if request.method == "PUT" and request.path.count("/") == 3]
    assert [path.rpartition("/")[2] for path in puts] == ["1", "2", "3", "4"]


def test_ranges(painter, vermeer):
    result = painter.run("""
        from huggingface_hub import HfFileSystem
        with HfFileSystem().open("painter/vermeer/weights.safetensors", block_size=64) as file:
            file.seek(300)
            part = file.read(10)
            file.seek(-4, 2)
            result = [part.hex(), file.read().hex()]
    """)
    assert [bytes.fromhex(part) for part in result] == [bytes(range(44, 54)), bytes(range(252, 256))]


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
