"""Requests: made by hand to the application, and sent byte by byte to a server that listens."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from sparsecircuits.viz.server.guard import Policy
from sparsecircuits.viz.server.library import Library
from sparsecircuits.viz.server.serve import bind, server_config

TOKEN = "a-token-of-the-tests-1234"
PORT = 8765
HOST = f"127.0.0.1:{PORT}"
POLICY = Policy(port=PORT, token=TOKEN)

Header = tuple[str, str]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    app: Any,
    method: str,
    path: str,
    headers: Sequence[Header] = (),
    body: bytes = b"",
    query: str = "",
    arrived: str = "127.0.0.1",
) -> Answer:
    """Ask the application itself, with exactly these headers."""
    # In a thread of its own: a browser's loop runs in this one as long as the browser does.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _call(app, method, path, headers, body, query, arrived)).result()


async def _call(
    app: Any, method: str, path: str, headers: Sequence[Header], body: bytes, query: str, arrived: str
) -> Answer:
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "server": (arrived, PORT),
        "client": ("127.0.0.1", 50000),
    }
    await app(scope, receive, send)
    start = sent[0]
    found = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


def own(host: str = HOST) -> list[Header]:
    """The headers of our own page's questions."""
    return [("Host", host), ("X-Sparsecircuits-Token", TOKEN)]


def posting(host: str = HOST) -> list[Header]:
    """The headers of what our own page posts."""
    return [*own(host), ("Origin", f"http://{host}"), ("Content-Type", "application/json")]


def post(app: Any, path: str, asked: Any) -> Answer:
    """Post JSON as our own page does."""
    return call(app, "POST", path, posting(), json.dumps(asked).encode())


@dataclass
class Running:
    """A server that listens."""

    port: int
    server: uvicorn.Server

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"http://{self.host}"

    def connect(self, timeout: float = 10.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def send(self, data: bytes, timeout: float = 10.0) -> bytes:
        """All that the server answers to these bytes, until it closes or is silent."""
        with self.connect(timeout) as sock:
            sock.sendall(data)
            return read_all(sock)

    def get(self, target: str, headers: Sequence[Header] = ()) -> tuple[int, bytes]:
        """A GET whose target is sent as it is; the status, and all that came back."""
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        if not any(name == "Host" for name, _ in headers):
            lines.append(f"Host: {self.host}")
        data = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
        told = self.send(data)
        return status_of(told), told

    def post(self, path: str, asked: Any, timeout: float = 10.0) -> tuple[int, bytes]:
        """Post JSON as our own page does."""
        body = json.dumps(asked).encode()
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in posting(self.host))]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        told = self.send("\r\n".join(lines).encode() + body, timeout)
        return status_of(told), told.partition(b"\r\n\r\n")[2]


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while True:
        try:
            part = sock.recv(1 << 16)
        except (TimeoutError, ConnectionResetError):
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def status_of(told: bytes) -> int:
    """The status of an answer; 0 if the server closed without one."""
    return int(told.split(b" ", 2)[1]) if told.startswith(b"HTTP/1.1 ") else 0


@contextmanager
def listening(library: Library, host: str = "127.0.0.1", token: str = TOKEN) -> Iterator[Running]:
    """A server in a thread, on a free port; not closed, though it has a token that the tests know."""
    bound = bind(host, 0)
    policy = Policy(
        bound.policy.port, token, bound.policy.hosts, bound.policy.by_address, bound.policy.closed
    )
    server = uvicorn.Server(server_config(library, policy))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound.sock]}, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.02)
    try:
        yield Running(policy.port, server)
    finally:
        server.should_exit = True
        thread.join(20)
        bound.sock.close()
        assert not thread.is_alive()
