"""What stands before every request: whose it is, what it may ask for, how much it may send.

A page of another site can make a browser send requests to this machine, and a name of its own can point
here ("DNS rebinding"). So a request passes only if, in this order (V1, V2, V4, V5):

1. it has exactly one ``Host``, byte for byte one of the server's own names, with or without its port;
2. its method is GET, HEAD or POST;
3. its path, as it was sent, is made of plain letters, digits and ``. _ - /`` and climbs nowhere: all keys of
   runs and circuits are, so that nothing is ever decoded;
4. no other site has made it: no foreign ``Origin``, and no ``Sec-Fetch-Site`` but our own, except for a link
   that is followed here;
5. below ``/api`` it brings the session's token in a header, which only our own page knows;
6. where the server is open to other machines, or its user gave it a token, it brings that token: once in the
   address, from then on as a cookie;
7. a POST comes from our own page, is JSON, and its body is within :data:`MOST_BYTES` and soon there.

Every answer forbids the browser to load, frame or guess anything.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from dataclasses import dataclass
from typing import NamedTuple

from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Bytes of a request's body.
MOST_BYTES = 1_000_000
#: Seconds in which a request's body must be there.
BODY_SECONDS = 10.0
TOKEN_HEADER = b"x-sparsecircuits-token"
METHODS = ("GET", "HEAD", "POST")
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)

_PATH = re.compile(rb"/[A-Za-z0-9._/-]*")


@dataclass(frozen=True)
class Policy:
    """Who may ask.

    Attributes:
        port: the server's.
        token: the session's.
        hosts: names that the server is called by, as ``Host`` has them.
        by_address: whether it may also be called by the address at which a connection came in (a server on
            all addresses does not know its names).
        closed: whether every request needs the token, and not those below ``/api`` alone.
    """

    port: int
    token: str
    hosts: tuple[str, ...] = LOOPBACK
    by_address: bool = False
    closed: bool = False

    def allows_host(self, host: bytes, arrived: str | None) -> bool:
        """Whether a request with this ``Host``, that came to the address ``arrived``, is for this server."""
        names = list(self.hosts)
        if self.by_address and arrived:
            names += own_hosts(arrived.removeprefix("::ffff:"))
        return any(host in (name.encode(), f"{name}:{self.port}".encode()) for name in names)

    def is_token(self, word: bytes | None) -> bool:
        """Whether ``word`` is the session's token; takes as long for each."""
        return word is not None and hmac.compare_digest(word, self.token.encode())

    @property
    def cookie(self) -> str:
        """The cookie's name; browsers do not keep the cookies of two ports apart."""
        return f"sparsecircuits-{self.port}"


class Refusal(NamedTuple):
    """Why a request does not pass."""

    status: int
    reason: str


class Guard:
    """The whole server's outermost layer; ``app`` sees only what passes."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self.app, self.policy = app, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        assert scope["type"] == "http", "no other protocol is served"
        send = _with_headers(send)
        refusal = self._refusal(scope)
        if refusal is not None:
            await answer(scope, refusal)(scope, receive, send)
            return
        if self.policy.closed and not self._known(scope):
            await self._let_in(scope)(scope, receive, send)
            return
        if scope["method"] == "POST":
            body = await _body(scope, receive)
            if isinstance(body, Refusal):
                await answer(scope, body)(scope, receive, send)
                return
            receive = _replay(body, receive)
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        """Steps 1 to 5."""
        hosts = values(scope, b"host")
        if len(hosts) != 1:
            return Refusal(400, "a request has exactly one Host")
        if not self.policy.allows_host(hosts[0], (scope.get("server") or (None,))[0]):
            names = " or ".join(self.policy.hosts)
            return Refusal(421, f"this server is {names}, port {self.policy.port}; --allow-host adds a name")
        if scope["method"] not in METHODS:
            return Refusal(405, f"methods are {', '.join(METHODS)}")
        path = scope["raw_path"]
        if not _PATH.fullmatch(path) or b".." in path or b"//" in path:
            return Refusal(404, "there is nothing here")
        if _is_foreign(scope, hosts[0]):
            return Refusal(403, "another site has sent this request")
        if path.startswith(b"/api/"):
            tokens = values(scope, TOKEN_HEADER)
            if len(tokens) != 1 or not self.policy.is_token(tokens[0]):
                return Refusal(403, "the session's token is missing or wrong; open the page anew")
        return None

    def _known(self, scope: Scope) -> bool:
        """Step 6: whether a request brings the token, as a cookie or as the page's own header."""
        wanted = self.policy.cookie.encode()
        cookies = [
            part.strip().partition(b"=") for line in values(scope, b"cookie") for part in line.split(b";")
        ]
        brought = [value for name, _, value in cookies if name == wanted] + values(scope, TOKEN_HEADER)
        return any(self.policy.is_token(word) for word in brought)

    def _let_in(self, scope: Scope) -> Response:
        """Take the token out of the address and into a cookie, or turn the visitor away."""
        given = re.fullmatch(rb"token=([A-Za-z0-9_-]+)", scope["query_string"])
        if scope["method"] != "GET" or given is None or not self.policy.is_token(given[1]):
            return answer(scope, Refusal(401, "open the address that the server printed, with its token"))
        # The path is plain and begins with one slash, so it leads nowhere else.
        response = RedirectResponse(scope["raw_path"].decode("ascii"), 303)
        response.set_cookie(self.policy.cookie, self.policy.token, httponly=True, samesite="strict")
        return response


def values(scope: Scope, name: bytes) -> list[bytes]:
    """All headers of that name."""
    return [value for key, value in scope["headers"] if key == name]


def answer(scope: Scope, refusal: Refusal) -> Response:
    """A refusal as the page, or a person, can read it; the connection ends with it."""
    headers = {"connection": "close"}
    if refusal.status == 405:
        headers["allow"] = ", ".join(METHODS)
    if scope["raw_path"].startswith(b"/api/"):
        return JSONResponse({"error": refusal.reason}, refusal.status, headers)
    return PlainTextResponse(f"{refusal.reason}\n", refusal.status, headers)


def _is_foreign(scope: Scope, host: bytes) -> bool:
    """Whether a page of another site sent this; a POST must say that none did."""
    origins = values(scope, b"origin")
    if any(origin != b"http://" + host for origin in origins) or len(origins) > 1:
        return True
    if scope["method"] == "POST" and not origins:
        return True
    sites = values(scope, b"sec-fetch-site")
    if all(site in (b"same-origin", b"none") for site in sites):
        return False
    followed = scope["method"] == "GET" and not scope["raw_path"].startswith(b"/api/")
    modes, kinds = values(scope, b"sec-fetch-mode"), values(scope, b"sec-fetch-dest")
    return not (followed and modes == [b"navigate"] and kinds == [b"document"])


async def _body(scope: Scope, receive: Receive) -> bytes | Refusal:
    """Step 7: the JSON text of a POST."""
    kinds = [kind.partition(b";")[0].strip().lower() for kind in values(scope, b"content-type")]
    if kinds != [b"application/json"]:
        return Refusal(415, "a POST is application/json")
    too_large = Refusal(413, f"a request's body is at most {MOST_BYTES:,} bytes")
    for length in values(scope, b"content-length"):
        if not length.isdigit():
            return Refusal(400, "Content-Length is no number")
        if len(length) > len(str(MOST_BYTES)) or int(length) > MOST_BYTES:
            return too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return Refusal(400, "the request broke off")
                body += message.get("body", b"")
                if len(body) > MOST_BYTES:
                    return too_large
                more = message.get("more_body", False)
    except TimeoutError:
        return Refusal(408, f"a request's body is there within {BODY_SECONDS:.0f} s")
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand on a body that has been read."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def _with_headers(send: Send) -> Send:
    """Add :data:`SECURITY_HEADERS` to the answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
        await send(message)

    return sending


def read_json(body: bytes) -> dict[str, object]:
    """The object that a body holds.

    Raises:
        ValueError: it is no JSON object; numbers are finite, and nothing is nested deeply.
    """
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def own_hosts(*names: str) -> tuple[str, ...]:
    """The names of a server as ``Host`` has them: those of loopback, and ``names``."""
    return tuple(dict.fromkeys((*LOOPBACK, *(f"[{name}]" if ":" in name else name for name in names))))
