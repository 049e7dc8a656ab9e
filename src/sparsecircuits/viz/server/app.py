"""The server's routes. What each is given has passed the guard.

==========================  ==================================================================
``GET /``                   all runs and circuits, and prunings
``GET /c/RUN/CIRCUIT``      a circuit's page, live
``GET /compare``            two circuits side by side
``GET /assets/…``           one script, one style
``GET /api/runs``           what is listed
``GET /api/pruning``        how the latest pruning goes
``POST /api/document``      a circuit's document; 202 and how far it is, while it is made
``POST /api/prompts``       a task's prompts, and the range of each node
``POST /api/ask``           odds of three models on a prompt, with changes to nodes
``POST /api/compare``       two circuits' figures and shared nodes
``POST /api/labels``        name nodes and groups of a circuit, in its file
``POST /api/prune``         start a pruning
``POST /api/cancel``        end it
==========================  ==================================================================
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from sparsecircuits.circuit import Labels
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.errors import ConfigError, SparseCircuitsError
from sparsecircuits.viz.server.changes import node_of, read_changes
from sparsecircuits.viz.server.compare import overlap, side
from sparsecircuits.viz.server.desk import Busy, Desk
from sparsecircuits.viz.server.documents import Documents
from sparsecircuits.viz.server.guard import Guard, Policy, read_json
from sparsecircuits.viz.server.library import Library, ListedCircuit, ListedRun, NotListed
from sparsecircuits.viz.server.prunings import Prunings, Refused
from sparsecircuits.viz.server.shell import assets, not_found, shell

Handler = Callable[[dict[str, Any]], Awaitable[Response]]
#: A document is sent in pieces, so that a reader who dawdles costs one piece of memory.
_PIECE = 1 << 16


def build_app(library: Library, policy: Policy) -> Guard:
    """The whole server as one ASGI application."""
    server = Server(library, policy)
    app = Starlette(
        routes=server.routes(),
        lifespan=server.lifespan,
        exception_handlers={SparseCircuitsError: _tell, HTTPException: _tell_http},
    )
    app.router.redirect_slashes = False
    return Guard(app, policy)


class Server:
    """What the routes share."""

    def __init__(self, library: Library, policy: Policy) -> None:
        self.library, self.policy = library, policy
        self.desk, self.documents, self.prunings = Desk(library), Documents(library), Prunings(library)
        self._writing = threading.Lock()

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        """On the way out, nothing goes on."""
        yield
        self.prunings.cancel()
        self.documents.close()
        self.desk.close()

    def routes(self) -> list[Route]:
        """The table above."""
        pages = [
            Route("/", self.home, methods=["GET"]),
            Route("/c/{run}", self.no_circuit, methods=["GET"]),
            Route("/c/{run}/{circuit}", self.circuit, methods=["GET"]),
            Route("/compare", self.compare_page, methods=["GET"]),
        ]
        files = [Route(path, _asset, methods=["GET"]) for path in assets()]
        reads = [
            Route("/api/runs", self.runs, methods=["GET"]),
            Route("/api/pruning", self.pruning, methods=["GET"]),
        ]
        posts: dict[str, Handler] = {
            "document": self.document,
            "prompts": self.prompts,
            "ask": self.ask,
            "compare": self.compare,
            "labels": self.labels,
            "prune": self.prune,
            "cancel": self.cancel,
        }
        writes = [
            Route(f"/api/{name}", _posted(handler), methods=["POST"]) for name, handler in posts.items()
        ]
        return [*pages, *files, *reads, *writes]

    async def home(self, _request: Request) -> Response:
        """All runs and circuits."""
        return HTMLResponse(shell("home", self.policy.token))

    async def circuit(self, request: Request) -> Response:
        """A circuit's page."""
        run, circuit = request.path_params["run"], request.path_params["circuit"]
        try:
            self.library.circuit(run, circuit)
        except NotListed as error:
            return self._not_found(str(error))
        return HTMLResponse(shell("circuit", self.policy.token, run, circuit))

    async def no_circuit(self, _request: Request) -> Response:
        """An address that names no circuit."""
        return self._not_found("no such circuit is listed")

    async def compare_page(self, _request: Request) -> Response:
        """Two circuits side by side; which, the page's own address says."""
        return HTMLResponse(shell("compare", self.policy.token))

    async def runs(self, _request: Request) -> Response:
        """What is listed now."""

        def told() -> list[dict[str, Any]]:
            self.library.scan()
            return [self._run(listed) for listed in self.library.runs()]

        return JSONResponse({"runs": await self.desk.answer(told)})

    async def pruning(self, _request: Request) -> Response:
        """How the latest pruning goes."""
        return JSONResponse({"pruning": self.prunings.latest()})

    async def document(self, asked: dict[str, Any]) -> Response:
        """A circuit's document, or how far it is."""
        making = self.documents.ask(*self._listed(asked))
        if making.error is not None:
            return JSONResponse({"error": making.error}, 422)
        if making.body is None:
            return JSONResponse({"done": making.done, "of": making.of, "what": making.what}, 202)
        return StreamingResponse(_pieces(making.body), media_type="application/json")

    async def prompts(self, asked: dict[str, Any]) -> Response:
        """A task's prompts, and between what values each node was."""
        run, circuit = self._listed(asked)

        def told() -> dict[str, Any]:
            with self.desk.at(run, circuit) as bench:
                prompts = [{"text": p.text, "pair": p.pair, "side": p.side} for p in bench.prompts]
                ranges = {str(node): ends for node, ends in bench.ranges().items()}
                n_ctx = bench.model.config.n_ctx
                return {"prompts": prompts, "ranges": ranges, "n_ctx": n_ctx, "writable": not run.bundled}

        return JSONResponse(await self.desk.answer(told))

    async def ask(self, asked: dict[str, Any]) -> Response:
        """Odds of the next token, with changes to nodes."""
        run, circuit = self._listed(asked)
        text = asked.get("text")
        if not isinstance(text, str):
            raise ConfigError("text is the prompt")

        def told() -> dict[str, Any]:
            with self.desk.at(run, circuit) as bench:
                tokens = bench.encode(text)
                changes = read_changes(asked.get("changes", []), bench.circuit, bench.model.config.n_ctx)
                name = asked.get("node")
                node = None if name is None else node_of(name, bench.circuit)
                return bench.ask(tokens, changes, node)

        return JSONResponse(await self.desk.answer(told))

    async def compare(self, asked: dict[str, Any]) -> Response:
        """Two circuits' figures; of one model, what they share."""
        listed = [self._listed(_object(asked, name)) for name in ("left", "right")]

        def told() -> dict[str, Any]:
            sides, hashes, circuits, models = [], [], [], []
            for run, circuit in listed:
                with self.desk.at(run, circuit) as bench:
                    sides.append({"run": run.name, "name": circuit.name, **side(bench.model, bench.circuit)})
                    circuits.append(bench.circuit)
                    models.append(bench.model)
                    hashes.append(self.desk.model(run).hash)
            same = hashes[0] == hashes[1]
            shared = overlap(models[0], *circuits) if same else None
            return {"left": sides[0], "right": sides[1], "same_model": same, "overlap": shared}

        return JSONResponse(await self.desk.answer(told))

    async def labels(self, asked: dict[str, Any]) -> Response:
        """Give a circuit these labels in place of those that it has.

        The page says from which labels it began. If the file holds others by now, as a second page or the
        command line may have written, nothing is: the answer is 409 with what the file holds.
        """
        run, circuit = self._listed(asked)
        if run.bundled:
            raise Refused(f"{run.name} comes with the package or from the Hub; nothing is written into it")
        labels, began = Labels.from_dict(asked.get("labels")), Labels.from_dict(asked.get("began"), "began")

        def write() -> Labels:
            with self._writing:
                loaded = circuit.load()
                if circuit_hash(loaded) != asked.get("sha256"):
                    raise Refused("the circuit is not what this page shows any more; open it anew")
                # Those that are asked for are there if the answer to an earlier request was lost.
                if loaded.labels not in (began, labels):
                    return loaded.labels
                self.documents.relabel(run, circuit, labels)
                return labels

        held = await self.desk.answer(write)
        if held != labels:
            return JSONResponse({"error": "labels changed elsewhere", "labels": held.to_dict()}, 409)
        return JSONResponse({"labels": labels.to_dict()})

    async def prune(self, asked: dict[str, Any]) -> Response:
        """Start a pruning."""
        pruning = await self.desk.answer(lambda: self.prunings.start(asked))
        return JSONResponse({"pruning": pruning.to_dict()}, 202)

    async def cancel(self, _asked: dict[str, Any]) -> Response:
        """End the pruning that runs."""
        await self.desk.answer(self.prunings.cancel)
        return JSONResponse({"pruning": self.prunings.latest()})

    def _not_found(self, reason: str) -> Response:
        """What is listed instead. Of the address that was asked for, nothing is repeated."""
        known = [
            (f"/c/{run.key}/{circuit.key}", f"{run.name}: {circuit.name}")
            for run in self.library.runs()
            for circuit in run.circuits.values()
        ]
        return HTMLResponse(not_found(reason, known), 404)

    def _listed(self, asked: dict[str, Any]) -> tuple[ListedRun, ListedCircuit]:
        run, circuit = str(asked.get("run")), str(asked.get("circuit"))
        return self.library.run(run), self.library.circuit(run, circuit)

    def _run(self, listed: ListedRun) -> dict[str, Any]:
        config, result = listed.run.config.model, listed.run.result() or {}
        why = listed.why_not_pruned()
        return {
            "key": listed.key,
            "name": listed.name,
            "bundled": listed.bundled,
            "n_layer": config.n_layer,
            "d_model": config.d_model,
            "val_loss": result.get("val_loss"),
            "tasks": [] if why else self.library.task_names(listed.run),
            "why_not_pruned": why,
            "damaged": [{"name": name, "error": error} for name, error in listed.damaged.items()],
            "circuits": [
                {"key": one.key, "name": one.name, **{k: v for k, v in one.facts.items() if k != "model"}}
                for one in listed.circuits.values()
            ],
        }


def _posted(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """A route that reads the JSON object of a POST."""

    async def route(request: Request) -> Response:
        try:
            asked = read_json(await request.body())
        except ValueError as error:
            raise ConfigError(f"the body: {error}") from error
        return await handler(asked)

    return route


async def _asset(request: Request) -> Response:
    found = assets()[request.scope["path"]]
    return Response(found.content, media_type=found.kind)


def _pieces(body: bytes) -> Generator[bytes]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


def _object(asked: dict[str, Any], name: str) -> dict[str, Any]:
    value = asked.get(name)
    if not isinstance(value, dict):
        raise ConfigError(f"{name} names a run and a circuit")
    return value


def _tell(request: Request, error: Exception) -> Response:
    """An error that a visitor can put right."""
    status = {NotListed: 404, Busy: 503, Refused: 409}.get(type(error), 422)
    return _said(request, status, str(error))


def _tell_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = {404: "there is nothing here", 405: "not with this method"}.get(error.status_code, error.detail)
    response = _said(request, error.status_code, reason)
    response.headers.update(error.headers or {})
    return response


def _said(request: Request, status: int, reason: str) -> Response:
    if request.scope["path"].startswith("/api/"):
        return JSONResponse({"error": reason}, status)
    return PlainTextResponse(f"{reason}\n", status)
