"""A small Hugging Face Hub in this process: what ``huggingface_hub`` uses here of its HTTP interface.

Repositories are kept in memory as commits, each a mapping from path to bytes. As on the real one, safetensors
files go up as large files (asked for, put, then named in the commit) and come down over a redirect; others
lie in the commit itself. Tokens: ``reader`` may see private repositories, ``writer`` may change all.

Every request is kept in :attr:`Hub.requests`, so that a test can say that there was none.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants as constants
import pytest
import yaml

LARGE = ".safetensors"


class Answered(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


@dataclass
class Repo:
    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.commit("main", {}, "initial commit")

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        told = json.dumps([len(self.commits), branch, sorted(files)])
        sha = hashlib.sha1(told.encode()).hexdigest()
        self.commits[sha], self.branches[branch] = dict(files), sha
        self.messages.append(message)
        return sha

    def sha(self, revision: str) -> str:
        sha = self.branches.get(revision, revision)
        if sha not in self.commits:
            raise Answered(404, "RevisionNotFound", f"no revision {revision}")
        return sha

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.sha(revision)]


class Hub:
    """What is on it, and what was asked."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.gated: set[str] = set()
        self.url = self.store = ""

    @contextlib.contextmanager
    def serving(self) -> Iterator[Hub]:
        """Answer at a free port while it lasts."""
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.store = self.url.replace("127.0.0.1", "localhost")  # another host, as on the real one
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def repo(self, name: str, token: str | None) -> Repo:
        """A repository, if it is there and the token opens it; the real Hub does not say which it was."""
        repo = self.repos.get(name)
        if repo is None or (repo.private and token not in ("reader", "writer")):
            raise Answered(401 if token is None else 404, "RepoNotFound", "Repository not found")
        if name in self.gated:
            raise Answered(403, "GatedRepo", "Access to this model is restricted")
        return repo


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        self.hub.requests.append(f"{self.command} {path}")
        method = "GET" if self.command == "HEAD" else self.command
        try:
            for pattern, verb, action in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and verb == method:
                    action(self, body, *found.groups())
                    return
            raise Answered(404, message=f"no such route: {method} {path}")
        except Answered as answer:
            headers = {"X-Error-Code": answer.code, "X-Error-Message": answer.message}
            self._send(answer.status, json.dumps({"error": answer.message}).encode(), headers)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            if value:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, data: Any) -> None:
        self._send(200, json.dumps(data).encode(), {"Content-Type": "application/json"})

    @property
    def token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def _writer(self) -> None:
        if self.token is None:
            raise Answered(401, message="Invalid username or password.")
        if self.token != "writer":
            raise Answered(403, message="this token may not write")

    def create(self, body: bytes) -> None:
        self._writer()
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repos:
            told = {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}
            self._send(409, json.dumps(told).encode())
            return
        private = asked.get("private") or asked.get("visibility") == "private"
        self.hub.repos[name] = Repo(private=bool(private))
        self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def validate(self, body: bytes) -> None:
        """The card's head must be YAML, a mapping."""
        head = json.loads(body)["content"].split("---\n")[1]
        errors = [] if isinstance(yaml.safe_load(head), dict) else [{"message": "no mapping"}]
        self._json({"errors": errors, "warnings": []})

    def info(self, body: bytes, name: str, revision: str | None = None) -> None:
        repo = self.hub.repo(name, self.token)
        sha = repo.sha(revision or "main")
        files = [{"rfilename": path} for path in repo.commits[sha]]
        self._json({"id": name, "modelId": name, "sha": sha, "private": repo.private, "siblings": files})

    def tree(self, body: bytes, name: str, revision: str) -> None:
        self._json(
            [_entry(path, data) for path, data in self.hub.repo(name, self.token).files(revision).items()]
        )

    def branch(self, body: bytes, name: str, branch: str) -> None:
        self._writer()
        repo = self.hub.repo(name, self.token)
        if branch in repo.branches:
            raise Answered(409, message="the branch exists")
        repo.branches[branch] = repo.branches["main"]
        self._json({})

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        self._writer()
        self.hub.repo(name, self.token).sha(revision)
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self._json({"files": files})

    def batch(self, body: bytes, name: str) -> None:
        self._writer()
        objects = [
            {**asked, "actions": {"upload": {"href": f"{self.hub.url}/large/{asked['oid']}"}}}
            for asked in json.loads(body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def put(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Answered(400, message="another content than announced")
        self.hub.large[oid] = body
        self._send(200, b"")

    def commit(self, body: bytes, name: str, branch: str) -> None:
        self._writer()
        repo = self.hub.repo(name, self.token)
        files, summary = dict(repo.files(branch)), ""
        for line in body.splitlines():
            key, value = (json.loads(line)[part] for part in ("key", "value"))
            if key == "header":
                summary = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
            else:
                raise Answered(400, message=f"unknown operation {key}")
        sha = repo.commit(branch, files, summary)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha})

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        repo = self.hub.repo(name, self.token)
        sha = repo.sha(revision)
        if path not in repo.commits[sha]:
            raise Answered(404, "EntryNotFound", f"no file {path}")
        data = repo.commits[sha][path]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{_oid(path, data)}"'}
        if not path.endswith(LARGE):
            self._send(200, data, headers)
            return
        large = f"{self.hub.store}/large/{name}/{sha}/{path}"
        self._send(
            302,
            b"",
            {
                **headers,
                "Location": large,
                "X-Linked-Size": str(len(data)),
                "X-Linked-Etag": f'"{_oid(path, data)}"',
            },
        )

    def get_large(self, body: bytes, name: str, sha: str, path: str) -> None:
        self._send(200, self.hub.repos[name].commits[sha][path])


def _oid(path: str, data: bytes) -> str:
    if path.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _oid(path, data)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": _oid(path, data), "size": len(data), "pointerSize": 130}
    return entry


_NAME = r"([^/]+/[^/]+)"
ROUTES = [
    (r"/api/repos/create", "POST", _Handler.create),
    (r"/api/validate-yaml", "POST", _Handler.validate),
    (rf"/api/models/{_NAME}", "GET", _Handler.info),
    (rf"/api/models/{_NAME}/revision/(.+)", "GET", _Handler.info),
    (rf"/api/models/{_NAME}/tree/([^/]+)", "GET", _Handler.tree),
    (rf"/api/models/{_NAME}/branch/(.+)", "POST", _Handler.branch),
    (rf"/api/models/{_NAME}/preupload/(.+)", "POST", _Handler.preupload),
    (rf"/api/models/{_NAME}/commit/(.+)", "POST", _Handler.commit),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", "POST", _Handler.batch),
    (r"/large/([0-9a-f]{64})", "PUT", _Handler.put),
    (rf"/large/{_NAME}/([0-9a-f]{{40}})/(.+)", "GET", _Handler.get_large),
    (rf"/{_NAME}/resolve/([^/]+)/(.+)", "GET", _Handler.resolve),
]


def use(hub: Hub, cache: Path, patch: pytest.MonkeyPatch, token: str | None) -> None:
    """Set what the library read from the environment when it was imported: the Hub, cache, token."""
    template = "/{repo_id}/resolve/{revision}/{filename}"
    settings = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + template,
        "HF_HUB_CACHE": str(cache),
        "HF_TOKEN_PATH": str(cache / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,  # large files by the older way, which this Hub speaks
    }
    for name, value in settings.items():
        patch.setattr(constants, name, value)
    patch.delenv("HF_TOKEN", raising=False)
    if token is not None:
        patch.setenv("HF_TOKEN", token)


def environment(hub: Hub, home: Path, token: str | None) -> dict[str, str]:
    """The same for a process of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    return {**kept, **told, **({} if token is None else {"HF_TOKEN": token})}
