"""What the Hub on loopback answers to each address."""

import hashlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import yaml
from loopback_calls import Answer, Call, json_answer
from loopback_cards import front_matter, problems
from loopback_files import (
    cached_file,
    commit,
    complete_upload,
    resolve,
    say_upload_addresses,
    say_upload_modes,
    verify_upload,
)
from loopback_store import KINDS, Commit, File, HubError

API = r"/api/(?P<kind>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
GIT = r"/(?:(?P<kind>datasets|spaces)/)?(?P<repo>[^/]+/[^/]+)"
REVISION = r"(?P<revision>[^/]+)"


def whoami(call: Call) -> Answer:
    if call.user is None:
        raise HubError(401, "Invalid username or password.")
    token = {"displayName": "token", "role": call.user.role}
    return json_answer(
        {"type": "user", "name": call.user.name, "orgs": [], "auth": {"type": "access_token", "accessToken": token}}
    )


def create_repository(call: Call) -> Answer:
    fields = call.json()
    kind = f"{fields.get('type') or 'model'}s"
    name = call.check_namespace(fields.get("organization") or (call.user.name if call.user else ""))
    repo_id = f"{fields.get('organization') or name}/{fields['name']}"
    private = fields.get("visibility") == "private" or bool(fields.get("private"))
    url = f"{call.hub.url}/{'' if kind == 'models' else kind + '/'}{repo_id}"
    try:
        call.hub.store.create(kind, repo_id, author=name, private=private, sdk=fields.get("sdk"))
    except HubError as error:
        return json_answer({"error": error.message, "url": url}, error.status)
    return json_answer({"url": url, "name": repo_id})


def delete_repository(call: Call) -> Answer:
    fields = call.json()
    organization = fields.get("organization") or (call.user.name if call.user else "")
    call.parts.update(kind=f"{fields.get('type') or 'model'}s", repo=f"{organization}/{fields['name']}")
    call.hub.store.delete(call.writer())
    return Answer()


def change_settings(call: Call) -> Answer:
    repository, fields = call.writer(), call.json()
    repository.private = {"private": True, "public": False}.get(fields.get("visibility", ""), repository.private)
    repository.private = fields.get("private", repository.private)
    repository.gated = bool(fields.get("gated", repository.gated))
    repository.save()
    return json_answer({"private": repository.private, "gated": repository.gated})


def information(call: Call) -> Answer:
    repository = call.reader()
    commit = repository.commit(call.part("revision") if call.parts.get("revision") else "main")
    card = _card(call, commit)
    siblings = [{"rfilename": path} for path in commit.files]
    if call.parameter("blobs"):
        siblings = [
            {"rfilename": file.path, "size": file.size, "blobId": file.oid}
            | ({"lfs": {"size": file.size, "sha256": file.sha256, "pointerSize": 128}} if file.is_large else {})
            for file in commit.files.values()
        ]
    return json_answer(
        {
            "_id": hashlib.sha1(repository.id.encode()).hexdigest()[:24],
            "id": repository.id,
            "author": repository.owner,
            "sha": commit.id,
            "lastModified": commit.date,
            "createdAt": repository.created,
            "private": repository.private,
            "gated": "manual" if repository.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": card.get("tags") or [],
            "cardData": card,
            "siblings": siblings,
        }
        | ({"sdk": repository.sdk} if repository.sdk else {})
        | {name: card[name] for name in ("pipeline_tag", "library_name", "model-index") if name in card}
    )


def _card(call: Call, commit: Commit) -> dict[str, Any]:
    if "README.md" not in commit.files:
        return {}
    try:
        metadata = front_matter(call.hub.store.content(commit.files["README.md"].sha256).read_text())
    except yaml.YAMLError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


def tree(call: Call) -> Answer:
    commit = call.reader().commit(call.part("revision"))
    folder = call.part("path") + "/" if call.parts.get("path") else ""
    below = [file for path, file in commit.files.items() if path.startswith(folder)]
    if folder and not below:
        raise HubError(404, f"{folder} does not exist on this revision", "EntryNotFound")
    names = {"/".join(file.path.split("/")[:depth]) for file in below for depth in range(1, file.path.count("/") + 1)}
    entries = [_folder(name) for name in sorted(names) if name.startswith(folder)] + [_file(file) for file in below]
    if call.parameter("recursive").lower() != "true":
        entries = [entry for entry in entries if "/" not in entry["path"][len(folder) :]]
    start = int(call.parameter("cursor", "0"))
    stop = start + call.hub.page_size
    query = f"recursive={call.parameter('recursive')}&cursor={stop}"
    link = {"Link": f'<{call.hub.url}{call.path}?{query}>; rel="next"'} if stop < len(entries) else {}
    return json_answer(entries[start:stop], headers=link)


def paths_information(call: Call) -> Answer:
    commit = call.reader().commit(call.part("revision"))
    entries = []
    for path in parse_qs(call.body.decode()).get("paths", []):
        if path in commit.files:
            entries.append(_file(commit.files[path]))
        elif any(name.startswith(f"{path}/") for name in commit.files):
            entries.append(_folder(path))
    return json_answer(entries)


def _file(file: File) -> dict[str, Any]:
    entry = {"type": "file", "path": file.path, "size": file.size, "oid": file.oid}
    return entry | ({"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 128}} if file.is_large else {})


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}


def references(call: Call) -> Answer:
    repository = call.reader()

    def listed(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"{prefix}{name}", "targetCommit": commit} for name, commit in names.items()]

    branches = {name: commit for name, commit in repository.branches.items() if not name.startswith("refs/")}
    pulls = {name: commit for name, commit in repository.branches.items() if name.startswith("refs/pr/")}
    return json_answer(
        {
            "branches": listed(branches, "refs/heads/"),
            "tags": listed(repository.tags, "refs/tags/"),
            "converts": [],
            "pullRequests": listed(pulls, ""),
        }
    )


def history(call: Call) -> Answer:
    return json_answer(
        [
            {
                "id": commit.id,
                "title": commit.title,
                "message": commit.description,
                "authors": [{"user": commit.author}],
                "date": commit.date,
            }
            for commit in call.reader().history(call.part("revision"))
        ]
    )


def create_branch(call: Call) -> Answer:
    repository, name = call.writer(), call.part("branch")
    if name in repository.branches:
        raise HubError(409, f"Reference already exists: {name}")
    repository.branches[name] = repository.commit_id(call.json().get("startingPoint", "main"))
    repository.save()
    return Answer()


def delete_branch(call: Call) -> Answer:
    repository, name = call.writer(), call.part("branch")
    if name == "main":
        raise HubError(403, "Cannot delete refs/heads/main")
    if repository.branches.pop(name, None) is None:
        raise HubError(404, f"Invalid rev id: {name}", "RevisionNotFound")
    repository.save()
    return Answer()


def create_tag(call: Call) -> Answer:
    repository, name = call.writer(), call.json()["tag"]
    if name in repository.tags:
        raise HubError(409, f"Tag reference exists already: {name}")
    repository.tags[name] = repository.commit_id(call.part("revision"))
    repository.save()
    return Answer()


def delete_tag(call: Call) -> Answer:
    repository, name = call.writer(), call.part("revision")
    if repository.tags.pop(name, None) is None:
        raise HubError(404, f"Invalid rev id: {name}", "RevisionNotFound")
    repository.save()
    return Answer()


def check_access(call: Call) -> Answer:
    call.writer() if call.path.endswith("/write") else call.file_reader()
    return Answer()


def validate_card(call: Call) -> Answer:
    fields = call.json()
    errors, warnings = problems(fields["content"], f"{fields.get('repoType', 'model')}s")
    report = {
        name: [{"message": line} for line in lines] for name, lines in (("errors", errors), ("warnings", warnings))
    }
    return json_answer(report, 400 if errors else 200)


ROUTES: list[tuple[str, str, Callable[[Call], Answer]]] = [
    ("GET", r"/api/whoami-v2", whoami),
    ("GET", r"/api/agent-harnesses", lambda call: json_answer({"harnesses": []})),
    ("POST", r"/api/repos/create", create_repository),
    ("DELETE", r"/api/repos/delete", delete_repository),
    ("POST", r"/api/validate-yaml", validate_card),
    (
        "GET",
        rf"/api/resolve-cache/(?P<kind>{'|'.join(KINDS)})/(?P<repo>[^/]+/[^/]+)/{REVISION}/(?P<path>.+)",
        cached_file,
    ),
    ("GET", API, information),
    ("GET", rf"{API}/revision/{REVISION}", information),
    ("GET", rf"{API}/tree/{REVISION}(?:/(?P<path>.+))?", tree),
    ("POST", rf"{API}/paths-info/{REVISION}", paths_information),
    ("GET", rf"{API}/refs", references),
    ("GET", rf"{API}/commits/{REVISION}", history),
    ("GET", rf"{API}/auth-check(?:/write)?", check_access),
    ("PUT", rf"{API}/settings", change_settings),
    ("POST", rf"{API}/branch/(?P<branch>[^/]+)", create_branch),
    ("DELETE", rf"{API}/branch/(?P<branch>[^/]+)", delete_branch),
    ("POST", rf"{API}/tag/{REVISION}", create_tag),
    ("DELETE", rf"{API}/tag/{REVISION}", delete_tag),
    ("POST", rf"{API}/preupload/{REVISION}", say_upload_modes),
    ("POST", rf"{API}/commit/{REVISION}", commit),
    ("POST", rf"{GIT}\.git/info/lfs/objects/batch", say_upload_addresses),
    ("POST", rf"{GIT}\.git/info/lfs/verify", verify_upload),
    ("POST", r"/uploads/(?P<oid>[0-9a-f]{64})/complete", complete_upload),
    ("GET", rf"{GIT}/resolve/{REVISION}/(?P<path>.+)", resolve),
]


def route(call: Call) -> Answer:
    """The Hub's answer to a request."""
    method = "GET" if call.method == "HEAD" else call.method
    for expected, pattern, answer in ROUTES:
        match = re.fullmatch(pattern, call.path)
        if expected == method and match is not None:
            call.parts.update({name: value for name, value in match.groupdict().items() if value is not None})
            return answer(call)
    raise HubError(404, f"The Hub on loopback knows no {call.method} {call.path}")
