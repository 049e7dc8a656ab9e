"""V2: only the server's own names pass, and no page of another site."""

from __future__ import annotations

import pytest

from sparsecircuits.viz.server.guard import LOOPBACK
from tests.viz.server.asking import HOST, PORT, Running, call, own, posting, status_of

#: (Host headers of one request, whether it passes); PORT stands for the server's own.
HOSTS: list[tuple[list[str], bool]] = [
    (["localhost:PORT"], True),
    (["127.0.0.1:PORT"], True),
    (["[::1]:PORT"], True),
    (["localhost"], True),
    (["127.0.0.1"], True),
    (["[::1]"], True),
    (["evil.com"], False),
    (["evil.com:PORT"], False),
    (["127.0.0.1.evil.com:PORT"], False),
    (["localhost.evil.com:PORT"], False),
    (["evil-localhost:PORT"], False),
    (["localhost:1"], False),
    (["localhost:"], False),
    (["localhost:0PORT"], False),
    (["localhost:PORT:PORT"], False),
    (["127.0.0.1:PORT@evil.com"], False),
    (["user@127.0.0.1:PORT"], False),
    ([], False),
    ([""], False),
    (["127.0.0.1:PORT", "evil.com"], False),
    (["127.0.0.1:PORT", "127.0.0.1:PORT"], False),
    (["a/b?c#d"], False),
    (["127.0.0.1:PORT/b?c#d"], False),
    (["http://127.0.0.1:PORT/"], False),
    (["LOCALHOST:PORT"], False),
    (["localhost.:PORT"], False),
    (["127.1:PORT"], False),
    (["2130706433:PORT"], False),
    (["[::ffff:127.0.0.1]:PORT"], False),
    (["127.0.0.1:PORT,evil.com"], False),
]


def test_thirty_are_asked() -> None:
    assert len(HOSTS) == 30
    assert sum(passes for _, passes in HOSTS) == 2 * len(LOOPBACK)


@pytest.mark.parametrize(("hosts", "passes"), HOSTS, ids=[" ".join(hosts) or "none" for hosts, _ in HOSTS])
def test_v2_hosts(running: Running, app, hosts: list[str], passes: bool) -> None:
    """Over a socket, where the HTTP library has its say too; and to the application, where it has none."""
    lines = [f"Host: {host}".replace("PORT", str(running.port)) for host in hosts]
    told = running.send("\r\n".join(["GET / HTTP/1.1", *lines, "Connection: close", "", ""]).encode())
    assert status_of(told) == 200 if passes else status_of(told) in (400, 421)
    assert passes == (b"session" in told)
    alone = call(app, "GET", "/", [("Host", host.replace("PORT", str(PORT))) for host in hosts])
    assert alone.status == 200 if passes else alone.status in (400, 421)


def test_an_absolute_address_does_not_stand_for_the_host(running: Running) -> None:
    host = f"Host: {running.host}"
    for target in ("http://evil.com/", f"http://{running.host}/", "//evil.com/", "evil.com"):
        told = running.send(f"GET {target} HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n".encode())
        assert status_of(told) in (400, 404), target
        assert b"session" not in told
    assert status_of(running.send(b"GET / HTTP/1.0\r\n\r\n")) == 400


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.com",
        "null",
        f"http://127.0.0.1:{PORT + 1}",
        f"https://{HOST}",
        f"http://localhost:{PORT}",
        f"http://{HOST}.evil.com",
        f"{HOST}",
        "",
    ],
)
def test_v2_a_foreign_origin(app, origin: str) -> None:
    for method, path in (("GET", "/"), ("GET", "/api/runs"), ("POST", "/api/cancel")):
        headers = [header for header in posting() if header[0] != "Origin"]
        assert call(app, method, path, [*headers, ("Origin", origin)], b"{}").status == 403


def test_our_own_origin_passes_and_is_needed_to_post(app) -> None:
    assert call(app, "POST", "/api/cancel", posting(), b"{}").status == 200
    without = [header for header in posting() if header[0] != "Origin"]
    assert call(app, "POST", "/api/cancel", without, b"{}").status == 403
    assert call(app, "POST", "/api/cancel", [*posting(), ("Origin", "http://evil.com")], b"{}").status == 403


def test_what_the_browser_says_of_another_site(app) -> None:
    def asked(path: str, *told: str) -> int:
        names = ("Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
        return call(app, "GET", path, [*own(), *zip(names, told, strict=False)]).status

    assert asked("/", "same-origin", "navigate", "document") == 200
    assert asked("/", "none", "navigate", "document") == 200
    assert asked("/", "cross-site", "navigate", "document") == 200  # a link that is followed
    assert asked("/", "cross-site", "navigate", "iframe") == 403
    assert asked("/", "cross-site", "no-cors", "image") == 403
    assert asked("/assets/app.js", "same-site", "no-cors", "script") == 403
    assert asked("/api/runs", "same-origin", "cors", "empty") == 200
    assert asked("/api/runs", "cross-site", "navigate", "document") == 403


def test_no_other_site_may_read(app) -> None:
    """No CORS on anything, and a policy that loads, frames and guesses nothing, on refusals too."""
    asked = [
        ("GET", "/", own()),
        ("GET", "/api/runs", own()),
        ("OPTIONS", "/api/runs", own()),
        ("GET", "/nowhere", own()),
        ("GET", "/", [("Host", "evil.com")]),
    ]
    for method, path, headers in asked:
        answer = call(app, method, path, headers)
        assert not any(name.startswith("access-control") for name in answer.headers)
        policy = answer.headers["content-security-policy"]
        for part in (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
        ):
            assert part in policy.split("; ")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
