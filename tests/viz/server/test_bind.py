"""V1: loopback alone by default; any other address needs a flag and a token, with a warning."""

from __future__ import annotations

import socket

import pytest

from sparsecircuits.errors import ConfigError
from sparsecircuits.viz.server.app import build_app
from sparsecircuits.viz.server.serve import bind
from tests.viz.server.asking import TOKEN, call


def reaches(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def test_v1_ipv4_loopback_alone_by_default() -> None:
    bound = bind(port=0)
    try:
        assert bound.sock.getsockname()[0] == "127.0.0.1"
        assert reaches("127.0.0.1", bound.policy.port)
        assert not reaches("127.0.0.2", bound.policy.port)  # every other address of this machine
        assert (bound.policy.closed, bound.open_to_others) == (False, False)
        assert bound.address == f"http://127.0.0.1:{bound.policy.port}/"
    finally:
        bound.sock.close()


def test_v1_ipv6_loopback() -> None:
    try:
        bound = bind("::1", 0)
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    with bound.sock:
        assert bound.sock.getsockname()[0] == "::1"
        assert not bound.policy.closed
        assert bound.address == f"http://[::1]:{bound.policy.port}/"


@pytest.mark.parametrize("host", ["0.0.0.0", "0"])
def test_v1_every_address_needs_the_token(host: str, library) -> None:
    bound = bind(host, 0)
    with bound.sock:
        policy = bound.policy
        assert (policy.closed, policy.by_address, bound.open_to_others) == (True, True, True)
        assert len(policy.token) >= 43  # 256 bits
        assert bound.address == f"http://localhost:{policy.port}/?token={policy.token}"
    app = build_app(library, policy)
    host = f"192.168.7.7:{policy.port}"
    for path in ("/", "/assets/app.js", "/c/planted/larger"):
        refused = call(app, "GET", path, [("Host", host)], arrived="192.168.7.7")
        assert refused.status == 401
        assert policy.token.encode() not in refused.body
    assert (
        call(app, "GET", "/", [("Host", host)], query="token=" + "x" * 43, arrived="192.168.7.7").status
        == 401
    )
    # By its address only at that address; by no other name.
    assert (
        call(app, "GET", "/", [("Host", host)], query=f"token={policy.token}", arrived="10.0.0.1").status
        == 421
    )
    shown = call(
        app, "GET", "/compare", [("Host", host)], query=f"token={policy.token}", arrived="192.168.7.7"
    )
    assert (shown.status, shown.headers["location"]) == (303, "/compare")
    cookie = shown.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    brought = cookie.partition(";")[0]
    headers = [("Host", host), ("Cookie", f"other=1; {brought}")]
    assert call(app, "GET", "/compare", headers, arrived="192.168.7.7").status == 200
    headers = [("Host", host), ("Cookie", brought[:-1])]
    assert call(app, "GET", "/compare", headers, arrived="192.168.7.7").status == 401


def test_a_token_of_ones_own_closes_loopback_too(library) -> None:
    bound = bind(port=0, token=TOKEN)
    with bound.sock:
        assert bound.policy.closed
        app = build_app(library, bound.policy)
        assert call(app, "GET", "/", [("Host", "localhost")]).status == 401


@pytest.mark.parametrize("token", ["short", "x" * 15, "sixteen signs & more", "a/b/c/d/e/f/g/h/i"])
def test_tokens_that_are_none(token: str) -> None:
    with pytest.raises(ConfigError, match="--token has at least 16 characters"):
        bind(port=0, token=token)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = f"--host 127.0.0.1 --port {port}: .*; leave --port out for a free one"
        with pytest.raises(ConfigError, match=said):
            bind(port=port)
    with pytest.raises(ConfigError, match="it is 0 to 65535"):
        bind(port=70000)
    with pytest.raises(ConfigError, match=r"--host 203\.0\.113\.7"):
        bind("203.0.113.7")  # an address of documentation, nobody's
