"""V5: what changes nothing, what is refused, and that nobody keeps others waiting."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sparsecircuits.viz.server import documents, guard, serve
from sparsecircuits.viz.server.app import Server, build_app
from sparsecircuits.viz.server.guard import MOST_BYTES
from tests.viz.server.asking import POLICY, Running, call, own, post, posting, read_all, status_of

ASKED = {"run": "planted", "circuit": "larger", "text": "f('abc"}
SOON = 2.0


def seconds_to_answer(running: Running) -> float:
    """How long another visitor waits for a page and for an answer."""
    begun = time.monotonic()
    assert running.get("/")[0] == 200
    assert running.post("/api/ask", ASKED)[0] == 200
    return time.monotonic() - begun


def test_v5_1_get_and_head_change_nothing_and_other_methods_are_none(app, served_run) -> None:
    def contents() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in sorted(served_run.folder.rglob("*"))}

    before = contents()
    posts = ("/api/document", "/api/prompts", "/api/ask", "/api/compare", "/api/prune", "/api/cancel")
    for path in ("/", "/compare", "/c/planted/larger", "/api/runs", "/api/pruning", "/assets/app.js"):
        assert call(app, "GET", path, own()).status == 200
        head = call(app, "HEAD", path, own())
        assert head.status == 200
        assert call(app, "POST", path, posting(), b"{}").status == 405
    for path in posts:
        for method in ("GET", "HEAD"):
            assert call(app, method, path, own()).status == 405
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"):
        for path in ("/", "/api/runs", *posts):
            answer = call(app, method, path, posting(), b"{}")
            assert answer.status == 405
            assert answer.headers["allow"] == "GET, HEAD, POST"
    assert contents() == before
    assert json.loads(call(app, "GET", "/api/pruning", own()).body) == {"pruning": None}


def test_v5_2_a_post_has_origin_token_and_json(app) -> None:
    body = json.dumps(ASKED).encode()

    def without(name: str, *more: tuple[str, str]) -> int:
        headers = [header for header in posting() if header[0] != name]
        return call(app, "POST", "/api/ask", [*headers, *more], body).status

    assert call(app, "POST", "/api/ask", posting(), body).status == 200
    assert without("Origin") == 403
    assert without("X-Sparsecircuits-Token") == 403
    assert without("X-Sparsecircuits-Token", ("X-Sparsecircuits-Token", "x" * 24)) == 403
    assert without("", ("X-Sparsecircuits-Token", "x")) == 403  # two of them
    assert without("Content-Type") == 415
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonx",
    ):
        assert without("Content-Type", ("Content-Type", kind)) == 415
    for wrong in (b"", b"[]", b"{", b'{"text": NaN}', b"[" * 100_000, b"\xff\xfe", b'"a"'):
        answer = call(app, "POST", "/api/ask", posting(), wrong)
        assert answer.status == 422
        assert answer.json["error"].startswith("the body: ")
    assert call(app, "GET", "/api/runs", [("Host", "localhost")]).status == 403


def test_v5_3_a_body_of_100_mb(running: Running) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in posting(running.host))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = running.send(f"POST /api/ask HTTP/1.1\r\n{head}Content-Length: 100000000\r\n\r\n".encode())
    assert status_of(told) == 413  # before any of it is sent
    piece = b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n"
    with running.connect() as sock:  # in pieces, without a length
        sock.sendall(f"POST /api/ask HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        try:
            for _ in range(100):
                sock.sendall(piece)
                sent += 1
        except OSError:
            pass  # it has hung up
        told = read_all(sock)
    assert sent < 100
    assert told == b"" or status_of(told) == 413
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 50_000
    assert seconds_to_answer(running) < SOON
    for length in ("-1", "1e3", "99999999999999999999"):
        told = running.send(f"POST /api/ask HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n".encode())
        assert status_of(told) in (400, 413)


def test_the_largest_body_and_one_byte_more(app) -> None:
    body = json.dumps({**ASKED, "more": ""}).encode()
    padded = body[:-2] + b"x" * (MOST_BYTES - len(body)) + body[-2:]
    assert len(padded) == MOST_BYTES
    assert call(app, "POST", "/api/ask", posting(), padded).status == 200
    assert call(app, "POST", "/api/ask", posting(), padded + b" ").status == 413


def test_v5_4_a_hundred_thousand_headers(running: Running) -> None:
    lines = "".join(f"X-{i}: y\r\n" for i in range(100_000))
    with running.connect() as sock:
        with contextlib.suppress(OSError):  # it may hang up meanwhile
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {running.host}\r\n{lines}\r\n".encode())
        told = read_all(sock)
    assert status_of(told) in (0, 400, 431)
    assert b"session" not in told
    assert seconds_to_answer(running) < SOON


def test_v5_5_slow_clients_are_hung_up(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "HEADER_SECONDS", 0.6)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.6)
    head = "".join(f"{name}: {value}\r\n" for name, value in posting(running.host))
    silent, dribbling, late = (running.connect() for _ in range(3))
    with silent, dribbling, late:
        begun = time.monotonic()
        late.sendall(f"POST /api/ask HTTP/1.1\r\n{head}Content-Length: 100\r\n\r\n{{".encode())
        for sign in b"GET / HTTP/1.1\r\n":  # a byte now and then does not win time
            try:
                dribbling.sendall(bytes([sign]))
            except OSError:
                break
            time.sleep(0.1)
        else:
            pytest.fail("a request that dribbles in is waited for")
        assert read_all(silent) == b""
        assert status_of(read_all(late)) == 408
        assert time.monotonic() - begun < 5
    assert seconds_to_answer(running) < SOON


def test_v5_6_two_hundred_idle_connections(running: Running) -> None:
    idle = [running.connect() for _ in range(200)]
    try:
        for sock in idle[:100]:
            sock.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert seconds_to_answer(running) < SOON
    finally:
        for sock in idle:
            sock.close()
    assert seconds_to_answer(running) < SOON


def test_v5_7_many_questions_at_once(running: Running) -> None:
    """Some are told to come back; each of the others has its own answer; then all is as before."""
    asked = [
        {**ASKED, "text": text, "changes": [{"node": "0.attn.v.5", "kind": "clamp", "value": value}]}
        for text in ("f('abc", 'f("abc', "g('xyz", 'f("def')
        for value in (-2, -1, 0, 1, 2)
    ]
    alone = [json.loads(running.post("/api/ask", one)[1]) for one in asked]

    def ask(i: int) -> tuple[int, int, bytes]:
        return i % len(asked), *running.post("/api/ask", asked[i % len(asked)])

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(ask, range(400)))
    assert {status for _, status, _ in answers} <= {200, 503}
    right = [(i, json.loads(told)) for i, status, told in answers if status == 200]
    assert len(right) >= 32
    assert all(told == alone[i] for i, told in right)
    assert seconds_to_answer(running) < SOON


def test_v5_8_nobody_waits_for_a_page_that_is_made(library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that takes for ever; further ones wait, and too many are refused."""
    from tests.viz.server.asking import listening

    let_go = threading.Event()

    def endless(*_args: object) -> None:
        let_go.wait(60)

    monkeypatch.setattr(documents, "run_document", endless)
    monkeypatch.setattr(documents, "MOST_WAITING", 1)
    with listening(library) as running:
        try:
            for _ in range(2):
                assert running.post("/api/document", {**ASKED})[0] == 202
            assert running.post("/api/document", {**ASKED, "circuit": "string_closing"})[0] == 503
            assert seconds_to_answer(running) < SOON
        finally:
            let_go.set()


def test_a_reader_who_dawdles_costs_a_piece(running: Running) -> None:
    """A large answer that nobody reads is not copied for each who asks."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(f"GET /assets/app.js HTTP/1.1\r\nHost: {running.host}\r\n\r\n".encode())
        assert seconds_to_answer(running) < SOON


def test_models_and_pages_that_are_kept_are_few(library, monkeypatch: pytest.MonkeyPatch) -> None:
    from sparsecircuits.viz.server.workbench import Kept

    made = []
    kept: Kept[int, int] = Kept(3)
    for key in (1, 2, 3, 1, 4, 1, 2):
        assert kept.get(key, lambda key=key: made.append(key) or key) == key
    assert len(kept) == 3
    assert made == [1, 2, 3, 4, 2]  # 1 was asked for in between, so 2 went
    server = Server(library, POLICY)
    monkeypatch.setattr(documents, "MOST_BYTES", 1)
    listed = library.run("planted")
    for circuit in listed.circuits.values():
        until = time.monotonic() + 30
        while server.documents.ask(listed, circuit).body is None and time.monotonic() < until:
            time.sleep(0.02)
    server.documents.close()
    assert sum(making.body is not None for making in server.documents._made.values()) == 1


def test_an_error_of_ours_shows_nothing(library, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError("a secret of the server's")

    monkeypatch.setattr(documents, "run_document", broken)
    app = build_app(library, POLICY)
    until = time.monotonic() + 20
    while (answer := post(app, "/api/document", ASKED)).status == 202 and time.monotonic() < until:
        time.sleep(0.02)
    assert answer.status == 422
    assert b"secret" not in answer.body
    assert "a secret of the server's" in caplog.text
