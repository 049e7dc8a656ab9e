"""``sparsecircuits view``: the circuits of a run as one self-contained page, or one of them as a picture."""

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

if TYPE_CHECKING:
    from sparsecircuits.circuit import Circuit
    from sparsecircuits.tasks import Task
    from sparsecircuits.train import Run

#: The example's page is to be there in seconds, so its effects are measured on fewer held-out pairs.
EXAMPLE_PAIRS = 32
PICTURES = (".png", ".svg", ".pdf")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Draw the circuits of a run.

    The page is one file that needs no network: the circuit as a graph, what each node does, prompts coloured
    by activation. The run "example" comes with the package; its page opens in the browser at once when the
    command is typed in a terminal.

    Examples: sparsecircuits view demo/sparse single_double_quote --png quotes.png

    sparsecircuits view example single_double_quote --drawing quote.svg --prompt "print('hello"
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run: its folder, or its name in runs/; example: the one that comes with the package."""
    circuits: Annotated[Positional[tuple[str, ...]], arg(metavar="[CIRCUIT ...]")] = ()
    """Circuits by name, as they are called in RUN/circuits; none: all."""
    export: Path | None = None
    """Where to write the page; RUN/index.html if not given, for the example example.html here."""
    png: Path | None = None
    """Draw one circuit as a picture instead; the ending .svg or .pdf gives that format."""
    drawing: Path | None = None
    """Draw what leads to the answer on one prompt, with numbers (Fig 4); .svg, .pdf or .png."""
    prompt: str | None = None
    """--drawing: the prompt; the first held-out one if not given."""
    task: Annotated[tuple[str, ...], arg(metavar="[FILE ...]")] = ()
    """The .py files of your own tasks: a run keeps other tasks, but runs no code of its folder."""
    open: bool = False
    """Open the page, or the picture, in the browser."""


def run(options: Options) -> None:
    """Write the page or the picture, and print where it is."""
    _check(options)
    run = open_run(options.run)
    circuits = saved_circuits(run, options.circuits)
    tasks = read_tasks(options.task)
    if options.drawing is not None:
        _draw_prompt(options, run, circuits, tasks)
        return
    if options.png is None:
        from sparsecircuits.viz.collect import circuit_page

        bundled = example_name(run.folder)
        path = options.export or (Path(f"{bundled}.html") if bundled else run.folder / "index.html")
        with Progress() as progress:

            def watch(done: int, of: int, _what: str) -> None:
                progress.stage("page", done, of)

            if bundled:
                title = f"Circuits of the bundled run {bundled}"
                circuit_page(
                    run, circuits, path, title, bundled, effect_pairs=EXAMPLE_PAIRS, tasks=tasks, watch=watch
                )
            else:
                circuit_page(run, circuits, path, tasks=tasks, watch=watch)
        print(path)
        if options.open or (bundled and sys.stdout.isatty()):
            _open(path)
        return
    from sparsecircuits.viz.collect import circuit_entry, task_of
    from sparsecircuits.viz.static import draw_circuit

    circuit = _only(circuits, "--png")
    task = task_of(circuit, run, tasks)
    entry = circuit_entry(run.model(), run.tokenizer(), circuit, task, model_name=run.name, samples=2)
    draw_circuit(entry, options.png)
    print(options.png)
    if options.open:
        _open(options.png)


def _check(options: Options) -> None:
    for option, path in (("--png", options.png), ("--drawing", options.drawing)):
        if path is not None and path.suffix not in PICTURES:
            raise ConfigError(f"{option} is {path}; it must end in {', '.join(PICTURES)}")
    given = [name for name in ("png", "drawing", "export") if getattr(options, name) is not None]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(f'--{name}' for name in given)}: give one of them")
    if options.prompt is not None and options.drawing is None:
        raise ConfigError("--prompt is for --drawing; give both")


def _only(circuits: Sequence[Circuit], option: str) -> Circuit:
    if len(circuits) > 1:
        names = ", ".join(circuit.task for circuit in circuits)
        raise ConfigError(f"{option} draws one circuit; name one of {names}")
    return circuits[0]


def _draw_prompt(options: Options, run: Run, circuits: Sequence[Circuit], tasks: Mapping[str, Task]) -> None:
    from sparsecircuits.viz.collect import task_of
    from sparsecircuits.viz.drawing.draw import draw_path
    from sparsecircuits.viz.drawing.prompt import prompt_path

    assert options.drawing is not None
    circuit, tokenizer = _only(circuits, "--drawing"), run.tokenizer()
    task = task_of(circuit, run, tasks)
    path = prompt_path(run.model(), tokenizer, circuit, task, options.prompt)
    draw_path(path, options.drawing, tokenizer, title=f"{task.name}: {task.about}")
    print(options.drawing)
    if options.open:
        _open(options.drawing)


def read_tasks(files: Sequence[str]) -> dict[str, Task]:
    """The tasks of some files by name."""
    from sparsecircuits.tasks.own import read_task

    return {task.name: task for task in map(read_task, files)}


def _open(path: Path) -> None:
    sys.stdout.flush()
    if not webbrowser.open(path.resolve().as_uri()):
        print("no browser was found; open the file in one", file=sys.stderr)
