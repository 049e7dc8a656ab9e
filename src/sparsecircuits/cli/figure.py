"""``sparsecircuits figure``: the pictures of a paper, drawn with matplotlib in one style, and their data."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import RUNS, open_run, saved_circuits
from sparsecircuits.cli.report import print_json
from sparsecircuits.cli.view import PICTURES, read_tasks
from sparsecircuits.config import Config
from sparsecircuits.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sparsecircuits.circuit import Circuit
    from sparsecircuits.train import Run, TrainConfig

KindName = Literal["training", "size-loss", "pruning", "card", "circuit", "drawing"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Draw a figure for a paper: SVG, PDF or PNG, in one style, with its data as CSV or JSON.

    training RUN ...: loss and validation loss, density, nonzero weights (L0), learning rate, gradient RMS,
    dead neurons, kurtosis of the last residual stream, tokens a second, over the tokens seen.

    size-loss SOURCE ...: size of the circuits against their target loss (Fig 2), one line a task and run; a
    SOURCE is a run, a study's folder or a results.jsonl.

    pruning RUN TASK: nodes and loss over the mask steps that found the circuit.

    card RUN [TASK ...]: which tests and verdicts the circuits pass.

    circuit RUN TASK: the circuit as on the page.

    drawing RUN TASK: one prompt and what leads to its answer, with numbers (Fig 4).

    Examples: sparsecircuits figure training demo/sparse demo/dense --out training.pdf

    sparsecircuits figure size-loss mine other --out size.svg --csv size.csv

    sparsecircuits figure drawing example single_double_quote --prompt "print('hello" --out quote.svg
    """

    kind: Annotated[Positional[KindName], arg(metavar="training|size-loss|pruning|card|circuit|drawing")]
    """What is drawn."""
    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="SOURCE ...")] = ()
    """RUN ..., SOURCE ... or RUN TASK ..., as above; example is the run that comes with the package."""
    out: Path
    """Where to write the figure; it ends in .svg, .pdf or .png."""
    csv: Path | None = None
    """Write the points to this file, too."""
    json: bool = False
    """Print the points as JSON."""
    prompt: str | None = None
    """drawing: the prompt; the first held-out one if not given."""
    least: float | None = None
    """drawing: show what at least this share of the answer comes through; 0.04 if not given, less shows
    more."""
    task: Annotated[tuple[str, ...], arg(metavar="[FILE ...]")] = ()
    """The .py files of your own tasks, for drawing and circuit."""


class Made(NamedTuple):
    """A figure, and the points in it."""

    figure: Figure
    rows: Sequence[Mapping[str, Any]]
    dpi: float = 160


_NEEDS = {
    "training": "one RUN or more",
    "size-loss": "one RUN, study or results.jsonl or more",
    "card": "a RUN, and the TASKs if not all",
    **dict.fromkeys(("pruning", "circuit", "drawing"), "RUN TASK"),
}


def run(options: Options) -> None:
    """Draw, save, and print where the figure is, or its points."""
    from sparsecircuits.viz.style import save_chart

    _check(options)
    made = _KINDS[options.kind](options)
    save_chart(made.figure, options.out, dpi=made.dpi)
    if options.csv is not None:
        write_csv(options.csv, made.rows)
    if options.json:
        print_json({"figure": str(options.out), "points": made.rows})
    else:
        print(options.out)


def _check(options: Options) -> None:
    kind, needs = options.kind, _NEEDS[options.kind]
    if options.out.suffix not in PICTURES:
        raise ConfigError(f"--out is {options.out}; it must end in {', '.join(PICTURES)}")
    if kind != "drawing" and (options.prompt is not None or options.least is not None):
        raise ConfigError(f"--prompt and --least are for figure drawing, not for figure {kind}")
    if not options.sources:
        raise ConfigError(f"figure {kind} needs {needs}")
    if kind in ("pruning", "circuit", "drawing") and len(options.sources) != 2:
        raise ConfigError(f"figure {kind} needs {needs}, got {' '.join(options.sources)}")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows with a heading of all their keys; a value that is missing stays empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = dict.fromkeys(key for row in rows for key in row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(keys))
        writer.writeheader()
        writer.writerows(rows)


def _training(options: Options) -> Made:
    from sparsecircuits.study.points import short_names
    from sparsecircuits.viz.training_charts import training_figure

    runs, unfinished, recipes = {}, set(), {}
    for word in options.sources:
        run = open_run(word)
        metrics = run.metrics()
        if not metrics:
            raise CheckpointError(f"{word}: the run keeps no metrics.jsonl, so there are no curves to draw")
        runs[str(Path(word))] = metrics
        recipes[str(Path(word))] = run.config.train
        if metrics[-1]["step"] < run.config.train.steps:
            unfinished.add(str(Path(word)))
    names = short_names(list(runs))
    runs = {names[word]: metrics for word, metrics in runs.items()}
    rows = [
        {"run": names[word], **row}
        for word, recipe in recipes.items()
        for row in _rows(runs[names[word]], recipe)
    ]
    return Made(training_figure(runs, {names[word] for word in unfinished}), rows)


def _rows(metrics: list[dict[str, Any]], recipe: TrainConfig) -> list[dict[str, Any]]:
    """What is drawn of a run, and on how many tokens each validation loss was measured."""
    from sparsecircuits.viz.training_charts import PANELS

    rows = []
    for line in metrics:
        on = None if line.get("val_loss") is None else recipe.validated_on(line["step"])
        first = {key: line.get(key) for key in ("step", "tokens", "loss", "val_loss")}
        rows.append({**first, "val_tokens": on, **{panel.key: line.get(panel.key) for panel in PANELS}})
    return rows


def _size_loss(options: Options) -> Made:
    from sparsecircuits.study.charts import sweep_figure
    from sparsecircuits.study.points import size_points

    rows = size_points([_source(word) for word in options.sources])
    runs = {row["run"] for row in rows}
    return Made(sweep_figure(rows, runs.pop() if len(runs) == 1 else ""), rows)


def _source(word: str) -> Path:
    """A file or a folder as it stands, or a run by name."""
    here = next((path for path in (Path(word), RUNS / word) if path.exists()), None)
    return here if here is not None else open_run(word).folder


def _pruning(options: Options) -> Made:
    from sparsecircuits.viz.curve_charts import pruning_figure

    run, circuit = _circuit(options)
    curve = circuit.info.get("curve")
    if not curve:
        raise CheckpointError(
            f"{run.folder}: the circuit for {circuit.task} keeps no curve of its pruning; prune it anew"
        )
    rows = [
        {"step": step, "loss": loss, "nodes": nodes}
        for step, loss, nodes in zip(curve["step"], curve["loss"], curve["nodes"], strict=True)
    ]
    return Made(pruning_figure(rows, f"{run.name}: {circuit.task}", circuit.info.get("target")), rows)


def _card(options: Options) -> Made:
    from sparsecircuits.validate.card import CARD_FILE, Card
    from sparsecircuits.viz.card_charts import cards_figure
    from sparsecircuits.viz.collect import card_entry

    run = open_run(options.sources[0])
    wanted = options.sources[1:]
    cards = []
    for circuit in saved_circuits(run, wanted):
        file = run.circuits / circuit.task / CARD_FILE
        if card_entry(circuit, file):  # not of another circuit
            cards.append(Card.load(file).to_dict())
        elif wanted:
            raise CheckpointError(
                f"{file}: no report card of this circuit; sparsecircuits check {run.folder} {circuit.task}"
            )
    if not cards:
        raise CheckpointError(f"{run.circuits}: no report cards; sparsecircuits check {run.folder}")
    keys = ("test", "name", "word", "figure", "estimate", "control")
    rows = [{"task": card["task"], **{k: one[k] for k in keys}} for card in cards for one in card["tests"]]
    return Made(cards_figure({run.name: cards}), rows)


def _circuit_figure(options: Options) -> Made:
    from sparsecircuits.viz.collect import circuit_entry, task_of
    from sparsecircuits.viz.pen import DPI
    from sparsecircuits.viz.static import circuit_figure

    run, circuit = _circuit(options)
    task = task_of(circuit, run, read_tasks(options.task))
    entry = circuit_entry(run.model(), run.tokenizer(), circuit, task, model_name=run.name, samples=2)
    return Made(circuit_figure(entry), entry["edges"], 2 * DPI)


def _drawing(options: Options) -> Made:
    from sparsecircuits.viz.collect import task_of
    from sparsecircuits.viz.drawing.active_path import LEAST
    from sparsecircuits.viz.drawing.draw import path_figure
    from sparsecircuits.viz.drawing.prompt import prompt_path
    from sparsecircuits.viz.pen import DPI

    run, circuit = _circuit(options)
    task, tokenizer = task_of(circuit, run, read_tasks(options.task)), run.tokenizer()
    least = LEAST if options.least is None else options.least
    path = prompt_path(run.model(), tokenizer, circuit, task, options.prompt, least=least)
    return Made(path_figure(path, tokenizer, title=f"{task.name}: {task.about}"), path.rows(), 2 * DPI)


def _circuit(options: Options) -> tuple[Run, Circuit]:
    """RUN and the circuit for TASK."""
    run = open_run(options.sources[0])
    (circuit,) = saved_circuits(run, options.sources[1:])
    return run, circuit


_KINDS: dict[KindName, Callable[[Options], Made]] = {
    "training": _training,
    "size-loss": _size_loss,
    "pruning": _pruning,
    "card": _card,
    "circuit": _circuit_figure,
    "drawing": _drawing,
}
