"""The live part of ``sparsecircuits view``: which runs, the server, the browser."""

from __future__ import annotations

import contextlib
import sys
import webbrowser
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparsecircuits.cli.arguments import RUNS, open_run, saved_circuits
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.examples import EXAMPLES

if TYPE_CHECKING:
    from sparsecircuits.cli.view import Options
    from sparsecircuits.tasks import Task
    from sparsecircuits.train import Run

WITHOUT_APP = (
    'the live viewer needs starlette and uvicorn: pip install "sparsecircuits[app]"; '
    "--export FILE writes the page as a file without them"
)


def serve(options: Options, tasks: dict[str, Task]) -> None:
    """Answer until interrupted.

    Raises:
        ConfigError: starlette or uvicorn is not installed; an address that cannot be taken.
        CheckpointError: there is no such run or circuit, or none at all.
    """
    require_app()
    from sparsecircuits.viz.server.library import Library
    from sparsecircuits.viz.server.serve import bind

    runs = listed_runs(options.run, options.circuits)
    for folder in options.also:
        if not folder.is_dir():
            raise CheckpointError(f"--also {folder}: no such folder")
    library = Library(runs, circuits=options.circuits, more=options.also, tasks=tasks)
    if not library.runs():
        raise CheckpointError(f"{options.run or RUNS}: no finished run here")
    for run in library.runs():
        for name, error in run.damaged.items():
            print(f"warning: {run.key}: the circuit {name} is damaged: {error}", file=sys.stderr)
    bound = bind(options.host, options.port, options.token, options.allow_host)
    if bound.open_to_others:
        print(
            f"warning: --host {options.host} lets other machines reach this server; "
            "whoever has the address with its token can use it, and it is not encrypted. Others put this "
            "machine's address in the place of localhost",
            file=sys.stderr,
        )
    opened = options.open or (sys.stdout.isatty() and not options.no_browser)
    with contextlib.suppress(KeyboardInterrupt):  # the ordinary end
        bound.run(library, lambda: _tell(bound.address, opened))


def require_app() -> None:
    """Raise a ConfigError unless the extra ``app`` is installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{WITHOUT_APP} ({error})") from error


def listed_runs(name: str | None, circuits: Sequence[str]) -> Callable[[], Iterable[tuple[str, Run]]]:
    """What gives the runs to list: that of the name, or all in ``runs/`` and those of the package.

    Raises:
        CheckpointError: no such run, or no such circuit in it.
        ConfigError: circuits without a run.
    """
    if name is None:
        if circuits:
            raise ConfigError("name the run of these circuits")
        from sparsecircuits.viz.server.library import runs_below

        return lambda: [*runs_below(RUNS), *((example, open_run(example)) for example in EXAMPLES)]
    run = open_run(name)
    if circuits:
        saved_circuits(run, circuits)
    shown = name if name in EXAMPLES or not Path(name).is_dir() else run.name
    return lambda: [(shown, run)]


def _tell(address: str, opened: bool) -> None:
    print(f"{address}\nCtrl-C ends the viewer")
    sys.stdout.flush()
    if opened and not webbrowser.open(address):
        print("no browser was found; open the address in one", file=sys.stderr)
