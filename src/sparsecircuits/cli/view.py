"""``sparsecircuits view``: look at circuits, live in a browser, as a self-contained page, or as a picture."""

from __future__ import annotations

import dataclasses
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import open_run, saved_circuits
from sparsecircuits.cli.progress import Progress
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError
from sparsecircuits.examples import example_name
from sparsecircuits.memory import memory_advice

if TYPE_CHECKING:
    from sparsecircuits.circuit import Circuit
    from sparsecircuits.tasks import Task
    from sparsecircuits.train import Run

#: The example's page is to be there in seconds, so its effects are measured on fewer held-out pairs.
EXAMPLE_PAIRS = 32
PICTURES = (".png", ".svg", ".pdf")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Look at the circuits of a run.

    Live, until Ctrl-C: a small server for this machine alone. Each circuit as a graph, what each node does,
    prompts coloured by activation; type any prompt, freeze, hold or scale nodes and see the odds change; two
    circuits side by side; prunings, started and watched from the page. Needs starlette and uvicorn:
    pip install "sparsecircuits[app]".

    --export writes the page as one file instead, which needs no server and no network; --png draws one
    circuit, --drawing one prompt's way through it. The run "example" comes with the package.

    Example: sparsecircuits view example

    sparsecircuits view demo/sparse --export page.html

    sparsecircuits view demo/sparse single_double_quote --png quotes.png

    sparsecircuits view example single_double_quote --drawing quote.svg --prompt "print('hello"
    """

    run: Annotated[Positional[str | None], arg(metavar="[RUN]")] = None
    """A run: its folder, or its name in runs/; example: the one that comes with the package; none: all runs
    in runs/, and those of the package."""
    circuits: Annotated[Positional[tuple[str, ...]], arg(metavar="[CIRCUIT ...]")] = ()
    """Circuits by name, as they are called in RUN/circuits; none: all."""
    export: Path | None = None
    """Write the page to this file, and start no server."""
    png: Path | None = None
    """Draw one circuit as a picture instead; the ending .svg or .pdf gives that format."""
    drawing: Path | None = None
    """Draw what leads to the answer on one prompt, with numbers (Fig 4); .svg, .pdf or .png."""
    prompt: str | None = None
    """--drawing: the prompt; the first held-out one if not given."""
    task: Annotated[tuple[str, ...], arg(metavar="[FILE ...]")] = ()
    """The .py files of your own tasks: a run keeps other tasks, but runs no code of its folder."""
    open: bool = False
    """Open the page, or the picture, in the browser; live, that is done anyway when called in a terminal."""
    no_browser: bool = False
    """Live: open no browser."""
    port: int | None = None
    """Live: where to listen; 0: a free port. 8765 if not given, or a free one where that is taken."""
    host: str = "127.0.0.1"
    """Live: the address to listen at. Any but this machine's own, such as 0.0.0.0, lets others in who have
    the token."""
    token: str | None = None
    """Live: what a visitor must bring, of 16 letters, digits, _ and - at least; a new one is made for --host.
    Given on a machine that several people use, it keeps the others out."""
    allow_host: tuple[str, ...] = ()
    """Live: further names by which the server may be called."""
    also: tuple[Path, ...] = ()
    """Live: folders of other circuits of these runs, such as a study's."""


@memory_advice("drawing circuits", "fewer circuits: name some")
def run(options: Options) -> None:
    """Serve, or write the page or the picture and print where it is."""
    _check(options)
    tasks = read_tasks(options.task)
    written = options.export or options.png or options.drawing
    if written is None:
        from sparsecircuits.cli.live import serve

        serve(options, tasks)
        return
    if options.run is None:
        raise ConfigError("name the run to draw")
    run = open_run(options.run)
    circuits = saved_circuits(run, options.circuits)
    if options.export is not None:
        _export(run, circuits, tasks, written)
    elif options.png is not None:
        _draw(run, _only(circuits, "--png"), tasks, written)
    else:
        _draw_prompt(run, _only(circuits, "--drawing"), tasks, written, options.prompt)
    print(written)
    if options.open:
        _open(written)


def _check(options: Options) -> None:
    if options.open and options.no_browser:
        raise ConfigError("--open and --no-browser: give one of them")
    for option, path in (("--png", options.png), ("--drawing", options.drawing)):
        if path is not None and path.suffix not in PICTURES:
            raise ConfigError(f"{option} is {path}; it must end in {', '.join(PICTURES)}")
    given = [name for name in ("png", "drawing", "export") if getattr(options, name) is not None]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(f'--{name}' for name in given)}: give one of them")
    if options.prompt is not None and options.drawing is None:
        raise ConfigError("--prompt is for --drawing; give both")


def _export(run: Run, circuits: Sequence[Circuit], tasks: Mapping[str, Task], path: Path) -> None:
    from sparsecircuits.viz.collect import circuit_page

    bundled = example_name(run.folder)
    title = f"Circuits of the bundled run {bundled}" if bundled else None
    pairs = EXAMPLE_PAIRS if bundled else None
    with Progress() as progress:

        def watch(done: int, of: int, _what: str) -> None:
            progress.stage("page", done, of)

        circuit_page(run, circuits, path, title, bundled, effect_pairs=pairs, tasks=tasks, watch=watch)


def _only(circuits: Sequence[Circuit], option: str) -> Circuit:
    if len(circuits) > 1:
        names = ", ".join(circuit.task for circuit in circuits)
        raise ConfigError(f"{option} draws one circuit; name one of {names}")
    return circuits[0]


def _draw(run: Run, circuit: Circuit, tasks: Mapping[str, Task], path: Path) -> None:
    from sparsecircuits.viz.collect import circuit_entry, task_of
    from sparsecircuits.viz.static import draw_circuit

    task = task_of(circuit, run, tasks)
    entry = circuit_entry(run.model(), run.tokenizer(), circuit, task, model_name=run.name, samples=2)
    draw_circuit(entry, path)


def _draw_prompt(
    run: Run, circuit: Circuit, tasks: Mapping[str, Task], path: Path, prompt: str | None
) -> None:
    from sparsecircuits.viz.collect import task_of
    from sparsecircuits.viz.drawing.draw import draw_path
    from sparsecircuits.viz.drawing.prompt import prompt_path

    tokenizer, task = run.tokenizer(), task_of(circuit, run, tasks)
    found = prompt_path(run.model(), tokenizer, circuit, task, prompt)
    names = {node: label.name for node, label in circuit.labels.nodes.items() if label.name}
    draw_path(found, path, tokenizer, title=f"{task.name}: {task.about}", names=names)


def read_tasks(files: Sequence[str]) -> dict[str, Task]:
    """The tasks of some files by name."""
    from sparsecircuits.tasks.own import read_task

    return {task.name: task for task in map(read_task, files)}


def _open(path: Path) -> None:
    sys.stdout.flush()
    if not webbrowser.open(path.resolve().as_uri()):
        print("no browser was found; open the file in one", file=sys.stderr)
