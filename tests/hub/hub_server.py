"""A hub over HTTP, as far as pushing needs it: repositories, branches, LFS, commits; it can die before or after any request."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from starloom.records import blob_id

PAGE = 2  # commits listed at once


@dataclass
class HubCommit:
    """A commit there: an id that depends on a clock, and content by path."""

    id: str
    parent: str | None
    title: str
    message: str
    files: dict[str, bytes]


@dataclass
class Hub:
    """What the server holds."""

    token: str | None = None
    branches: dict[str, dict[str, str]] = field(default_factory=dict)  # repository → branch → commit
    commits: dict[str, HubCommit] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)  # that requests carried
    uploads: int = 0
    dies_at: int | None = None  # the number of the request at which the connection breaks
    dies_after: bool = False  # … when it was carried out, so that only the answer is lost
    intruder: str = ""  # a branch that somebody else commits to just before the next commit
    url: str = ""

    def commit(self, repository: str, branch: str, title: str, message: str, files: dict[str, bytes]) -> str:
        parent = self.branches[repository].get(branch)
        made = HubCommit(hashlib.sha1(b"%d" % len(self.commits)).hexdigest(), parent, title, message, files)
        self.commits[made.id] = made
        self.branches[repository][branch] = made.id
        return made.id

    def history(self, repository: str, revision: str) -> list[HubCommit]:
        found = []
        at = self.branches[repository].get(revision, revision)
        while at is not None:
            found.append(self.commits[at])
            at = self.commits[at].parent
        return found


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, said: str, **more: str) -> None:
        super().__init__(said)
        self.status, self.more = status, more


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece
    disable_nagle_algorithm = True
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_HEAD = do_GET

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        self.hub.requests.append(f"{self.command} {url.path}")
        self.hub.tokens.add(self.headers.get("Authorization", "").removeprefix("Bearer ") or None)
        dying = self.hub.dies_at is not None and len(self.hub.requests) == self.hub.dies_at
        if dying and not self.hub.dies_after:
            self._break()
            return
        links: dict[str, str] = {}
        try:
            stored = url.path.startswith("/lfs/")  # signed URLs carry no token
            if self.hub.token and not stored and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
                raise Refused(401, "Invalid credentials in Authorization header")
            status, said = 200, self._do(unquote(url.path), parse_qs(url.query), body, links)
        except Refused as error:
            status, said = error.status, {"error": str(error), **error.more}
            links["X-Error-Message"] = str(error)
        if dying:
            self._break()
            return
        data = json.dumps(said).encode()
        self.send_response(status)
        for name, value in {**links, "Content-Length": str(len(data)), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _break(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _do(self, path: str, query: dict[str, list[str]], body: bytes, links: dict[str, str]) -> Any:
        hub, parts = self.hub, path.strip("/").split("/")
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in hub.branches:
                raise Refused(409, "You already created this model repo", url=f"{hub.url}/{name}")
            hub.branches[name] = {}
            hub.private[name] = asked.get("visibility") == "private"
            hub.commit(name, "main", "initial commit", "", {".gitattributes": b"*.safetensors filter=lfs\n"})
            return {"url": f"{hub.url}/{name}"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path.startswith("/lfs/"):
            if hashlib.sha256(body).hexdigest() != parts[1]:
                raise Refused(400, "content differs from its oid")
            hub.large[parts[1]] = body
            hub.uploads += 1
            return {}
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            upload = {one["oid"]: {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}} for one in objects}
            return {
                "transfer": "basic",
                "objects": [
                    one if one["oid"] in hub.large else {**one, "actions": upload[one["oid"]]} for one in objects
                ],
            }
        repository, verb, revision = "/".join(parts[2:4]), parts[4], "/".join(parts[5:])
        if repository not in hub.branches:
            raise Refused(404, "Repository not found")
        branches = hub.branches[repository]
        if verb == "refs":
            listed = [{"name": one, "ref": f"refs/heads/{one}", "targetCommit": at} for one, at in branches.items()]
            return {"branches": listed, "tags": [], "converts": []}
        if verb == "branch":
            if revision in branches:
                raise Refused(409, "Reference already exists")
            start = json.loads(body)["startingPoint"]
            branches[revision] = branches.get(start, start)
            return {}
        if branches.get(revision, revision) not in hub.commits:
            raise Refused(404, "Revision not found")
        if verb == "commits":
            page = int(query.get("p", ["0"])[0])
            every = hub.history(repository, revision)
            if len(every) > PAGE * (page + 1):
                links["Link"] = f'<{hub.url}{self.path.partition("?")[0]}?p={page + 1}>; rel="next"'
            return [
                {"id": one.id, "authors": [{"user": "me"}], "date": "2026-01-01T00:00:00.000Z", "title": one.title, "message": one.message}
                for one in every[PAGE * page : PAGE * (page + 1)]
            ]  # fmt: skip
        held = hub.history(repository, revision)[0].files
        if verb == "preupload":
            return {"files": [_mode(one, held) for one in json.loads(body)["files"]]}
        assert verb == "commit", path
        return self._commit(repository, revision, [json.loads(line) for line in body.splitlines()], dict(held))

    def _commit(self, repository: str, branch: str, lines: list[Any], files: dict[str, bytes]) -> Any:
        header = lines[0]["value"]
        if self.hub.intruder:
            intruded, self.hub.intruder = self.hub.intruder, ""
            self.hub.commit(repository, intruded, "by somebody else", "", {"README.md": b"theirs"})
        if header.get("parentCommit") not in (None, self.hub.branches[repository][branch]):
            raise Refused(412, "The branch has moved since the parent commit")
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.large:
                    raise Refused(400, "LFS pointer to content that was not uploaded")
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                assert line["key"] == "deletedFile", line
                del files[value["path"]]
        made = self.hub.commit(repository, branch, header["summary"], header["description"], files)
        return {"commitUrl": f"{self.hub.url}/{repository}/commit/{made}", "commitOid": made}


def _mode(asked: dict[str, Any], held: dict[str, bytes]) -> dict[str, Any]:
    large = asked["path"].endswith(".safetensors")
    said = {"path": asked["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
    content = held.get(asked["path"])
    if content is not None:
        said["oid"] = hashlib.sha256(content).hexdigest() if large else blob_id(content)
    return said


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub at a port of this machine, for the length of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
