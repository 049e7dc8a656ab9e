"""Start the server: bind, print the address, answer until interrupted.

uvicorn speaks HTTP with limits: headers of 64 KiB at most, a few hundred connections, idle ones closed after
seconds, and one that opens without asking anything, or dawdles over its headers, as well
(:class:`Impatient`).
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sparsecircuits.errors import ConfigError
from sparsecircuits.viz.server.app import build_app
from sparsecircuits.viz.server.guard import Policy, own_hosts
from sparsecircuits.viz.server.library import Library

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8765
#: Connections at once; more are told to come back.
MOST_CONNECTIONS = 400
#: Bytes of a request's headers.
MOST_HEADER_BYTES = 65_536
#: Seconds after which an idle connection, and one whose headers are not there yet, is closed.
IDLE_SECONDS, HEADER_SECONDS = 5, 10.0
_SHORTEST_TOKEN = 16


class Impatient(H11Protocol):
    """HTTP, for those who say what they want within :data:`HEADER_SECONDS`.

    uvicorn closes a connection that idles after an answer, but waits for ever for the first request, and for
    the rest of one that has begun.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._close_if_idle)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._waits():
            self._forget()
        elif self._deadline is None:  # the beginning of a further request
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _waits(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        self._deadline = None
        if self._waits() and not self.transport.is_closing():
            self.transport.close()


@dataclass(frozen=True)
class Bound:
    """A server that has its address and answers as soon as it is run."""

    policy: Policy
    sock: socket.socket
    host: str

    @property
    def open_to_others(self) -> bool:
        """Whether other machines can reach it."""
        return not is_loopback(self.sock.getsockname()[0])

    @property
    def address(self) -> str:
        """What to open; with the token, where one is needed."""
        name = "localhost" if self.policy.by_address else self.host
        shown = f"[{name}]" if ":" in name else name
        return f"http://{shown}:{self.policy.port}/" + (
            f"?token={self.policy.token}" if self.policy.closed else ""
        )

    def run(self, library: Library, started: Callable[[], None] | None = None) -> None:
        """Answer until interrupted; ``started`` is called once it does."""
        _Server(server_config(library, self.policy), started).run(sockets=[self.sock])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._tell is not None and not self.should_exit:
            self._tell()


def bind(
    host: str = DEFAULT_HOST,
    port: int | None = None,
    token: str | None = None,
    allowed: Sequence[str] = (),
) -> Bound:
    """Take the address.

    Args:
        host: an IP address, or ``localhost``. Any but this machine's own loopback opens the server to others:
            every request then needs the token.
        port: None: 8765, or a free one where that is taken; 0: a free one.
        token: the session's; None: a new one. A given one is asked of every request, on loopback too.
        allowed: further names by which the server may be called, such as that of a proxy.

    Raises:
        ConfigError: an address that this machine does not have, a port that is taken, a token that is short
            or does not fit into an address.
    """
    if token is not None and (len(token) < _SHORTEST_TOKEN or not _is_plain(token)):
        raise ConfigError(
            f"--token has at least {_SHORTEST_TOKEN} characters, which are letters, digits, _ and -"
        )
    if port is not None and not 0 <= port <= 65535:
        raise ConfigError(f"--port is {port}; it is 0 to 65535")
    try:
        sock = _listen(host, DEFAULT_PORT if port is None else port)
    except OSError as error:
        if port is not None:
            hint = "; leave --port out for a free one" if error.errno == errno.EADDRINUSE else ""
            raise ConfigError(f"--host {host} --port {port}: {error.strerror or error}{hint}") from error
        try:
            sock = _listen(host, 0)
        except OSError as again:
            raise ConfigError(f"--host {host}: {again.strerror or again}") from again
    # What the address turned out to be: "0" and "" mean every one that the machine has.
    address, taken = sock.getsockname()[:2]
    everywhere = ipaddress.ip_address(address).is_unspecified
    policy = Policy(
        port=taken,
        token=token or secrets.token_urlsafe(32),
        hosts=own_hosts(*([] if everywhere else [address, host]), *allowed),
        by_address=everywhere,
        closed=token is not None or not is_loopback(address),
    )
    return Bound(policy, sock, host)


def server_config(library: Library, policy: Policy) -> uvicorn.Config:
    """How uvicorn is run, with all limits."""
    return uvicorn.Config(
        build_app(library, policy),
        http=Impatient,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        backlog=MOST_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
    )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a server at that IP address.

    >>> [is_loopback(address) for address in ("127.0.0.1", "::1", "0.0.0.0", "192.168.0.2")]
    [True, True, False, False]
    """
    return ipaddress.ip_address(address).is_loopback


def _listen(host: str, port: int) -> socket.socket:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # Only where it is said to be TCP does asyncio send at once; elsewhere each answer is 40 ms late.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it lets two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(MOST_CONNECTIONS)
    except OSError:
        sock.close()
        raise
    return sock


def _is_plain(token: str) -> bool:
    return all(sign.isascii() and (sign.isalnum() or sign in "_-") for sign in token)
