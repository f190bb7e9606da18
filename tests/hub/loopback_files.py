"""How files get onto the Hub on loopback and back: uploads, commits, downloads."""

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote

from loopback_calls import Answer, Call, json_answer, range_answer
from loopback_store import HubError


def say_upload_modes(call: Call) -> Answer:
    files = call.writer().commit(call.part("revision")).files
    return json_answer(
        {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": call.hub.store.upload_mode(
                        file["path"], file["size"], base64.b64decode(file["sample"])
                    ),
                    "shouldIgnore": False,
                    "oid": files[file["path"]].etag if file["path"] in files else None,
                }
                for file in call.json()["files"]
            ]
        }
    )


def say_upload_addresses(call: Call) -> Answer:
    """git-lfs's batch request: nothing to do for what is there, else addresses of the storage host."""
    call.writer()
    objects = []
    for wanted in call.json()["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        entry: dict[str, Any] = {"oid": oid, "size": size}
        if not call.hub.store.has_large(oid, size):
            upload: dict[str, Any] = {"href": call.hub.signed(f"/uploads/{oid}"), "header": {}}
            if size > call.hub.part_size:
                count = -(-size // call.hub.part_size)
                upload["href"] = f"{call.hub.url}/uploads/{oid}/complete"
                upload["header"] = {"chunk_size": str(call.hub.part_size)} | {
                    str(part): call.hub.signed(f"/uploads/{oid}/{part}") for part in range(1, count + 1)
                }
            verify = f"{call.hub.url}{call.path.replace('objects/batch', 'verify')}"
            entry["actions"] = {"upload": upload, "verify": {"href": verify}}
        objects.append(entry)
    return json_answer({"transfer": "basic", "objects": objects})


def verify_upload(call: Call) -> Answer:
    call.writer()
    fields = call.json()
    if not call.hub.store.has_large(fields["oid"], fields["size"]):
        raise HubError(422, f"The uploaded file {fields['oid']} is missing or not of {fields['size']} bytes")
    return Answer()


def complete_upload(call: Call) -> Answer:
    fields = call.json()
    pieces = []
    for number, part in enumerate(fields["parts"], start=1):
        content = call.hub.parts.get((call.parts["oid"], number))
        if content is None or part["etag"].strip('"') != hashlib.sha256(content).hexdigest():
            raise HubError(400, f"Part {number} of {call.parts['oid']} is missing or not the one that was sent")
        pieces.append(content)
    call.hub.store.receive(call.parts["oid"], b"".join(pieces))
    return Answer()


def commit(call: Call) -> Answer:
    repository, store = call.writer(), call.hub.store
    header: dict[str, Any] = {}
    additions, deletions = [], []
    for line in call.body.splitlines():
        operation = json.loads(line)
        key, value = operation["key"], operation["value"]
        if key == "header":
            header = value
        elif key == "file":
            additions.append(store.keep(value["path"], base64.b64decode(value["content"], validate=True)))
        elif key == "lfsFile":
            additions.append(store.adopt(value["path"], value["oid"], value.get("size")))
        elif key in ("deletedFile", "deletedFolder"):
            deletions.append(value["path"].rstrip("/") + ("/" if key == "deletedFolder" else ""))
        else:
            raise HubError(400, f"Unknown operation: {key}")
    pulls = 1 + sum(name.startswith("refs/pr/") for name in repository.branches)
    made = store.add_commit(
        repository,
        call.part("revision"),
        title=header["summary"],
        description=header.get("description", ""),
        author=call.user.name if call.user else "",
        expected_parent=header.get("parentCommit"),
        additions=additions,
        deletions=deletions,
        new_branch=f"refs/pr/{pulls}" if call.parameter("create_pr") else None,
    )
    place = f"{call.hub.url}/{'' if call.kind == 'models' else call.kind + '/'}{repository.id}"
    return json_answer(
        {
            "success": True,
            "commitOid": made.id,
            "commitUrl": f"{place}/commit/{made.id}",
            "pullRequestUrl": f"{place}/discussions/{pulls}" if call.parameter("create_pr") else None,
        }
    )


def resolve(call: Call) -> Answer:
    """What to know of a file, and where it is: large ones on the storage host, others here under their commit."""
    repository, path = call.file_reader(), call.part("path")
    made, file = repository.file(call.part("revision"), path)
    headers = {"X-Repo-Commit": made.id}
    if file.is_large:
        location = call.hub.signed(f"/contents/{file.sha256}")
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        return Answer(302, f"Found. Redirecting to {location}".encode(), {**headers, "Location": location})
    location = f"/api/resolve-cache/{repository.kind}/{repository.id}/{made.id}/{quote(path)}"
    headers |= {"ETag": f'"{file.oid}"', "X-Linked-Size": str(file.size)}
    return Answer(307, f"Temporary Redirect. Redirecting to {location}".encode(), {**headers, "Location": location})


def cached_file(call: Call) -> Answer:
    made, file = call.file_reader().file(call.part("revision"), call.part("path"))
    content = call.hub.store.content(file.sha256).read_bytes()
    return range_answer(content, call.headers.get("Range"), {"X-Repo-Commit": made.id, "ETag": f'"{file.oid}"'})


def storage(call: Call) -> Answer:
    """The storage host: large files by signed address."""
    if not hmac.compare_digest(call.hub.signed(call.path), call.hub.signed_as(call.path, call.parameter("signature"))):
        raise HubError(403, "SignatureDoesNotMatch")
    place, oid, *part = call.path.strip("/").split("/")
    if place == "contents" and call.method in ("GET", "HEAD"):
        content = call.hub.store.content(oid).read_bytes()
        return range_answer(content, call.headers.get("Range"), {"ETag": f'"{oid}"'})
    if place == "uploads" and call.method == "PUT":
        if not part:
            call.hub.store.receive(oid, call.body)
            return Answer()
        call.hub.parts[oid, int(part[0])] = call.body
        return Answer(headers={"ETag": f'"{hashlib.sha256(call.body).hexdigest()}"'})
    raise HubError(405, f"{call.method} is not allowed for {place}")
