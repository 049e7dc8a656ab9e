"""``sparsecircuits check``: is a circuit true? Its report card, as a table, as JSON and on its page."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import is_read_only, open_run, saved_circuits
from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError, near_misses
from sparsecircuits.validate.catalogue import KINDS, LEVELS, VERDICTS, Level

if TYPE_CHECKING:
    from sparsecircuits.circuit import Circuit
    from sparsecircuits.train import Run
    from sparsecircuits.validate.card import Card

TEST_COLUMNS = (
    Column("test", "test"),
    Column("name", "name"),
    Column("word", ""),
    Column("estimate", "estimate", ".3g"),
    Column("range", "95% interval"),
    Column("control", "control", ".3g"),
    Column("figure", "estimate of"),
)
CARD_COLUMNS = (
    Column("task", "task"),
    Column("nodes", "nodes", ",d"),
    Column("edges", "edges", ",d"),
    *(Column(f"verdicts.{name}", name) for name in VERDICTS),
    Column("failed", "failed"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Put circuits to the tests, and print their report cards.

    A circuit that does its task may still be false: it may live by what it leaves out, match the model on
    these prompts only, or be what the search finds for anything. Each test rules one such thing out, with a
    control beside it; thresholds are the same for all circuits. Five verdicts follow: Sufficient (does the
    task, is needed, no random circuit would do), Robust (works as the model does, whatever comes back),
    Controlled (the search finds nothing as small for nonsense), Faithful (holds against an adversary and on
    other texts, and every search finds it), Verified (agrees with the model on every input of a domain).
    "open": a test that the verdict needs has not been run, or cannot be judged yet; its line says why. Where
    one fails, its line says by what. "control": the same of what should not pass, such as a random circuit
    (docs/truth.md has a table of all tests).

    --level quick takes seconds (T1-T4, T10, T11, T24), standard a minute or more (all tests of one circuit,
    its nodes as two-level steps, their part in pretraining); full takes 1,024 prompts and many prunings:
    nonsense tasks, random weights, ten seeds and five bootstraps, which RUN keeps and goes on with. A card
    goes to RUN/circuits/TASK/card.json and onto the page; one that is there of the same circuit and as
    thorough is shown, not made again, and a lower level never takes its place. Exit code 1:
    Sufficient is "no" for some circuit.

    Examples: sparsecircuits check demo/sparse bracket_counting --level quick

    sparsecircuits check demo/sparse --level standard

    sparsecircuits check demo/sparse bracket_counting --only T4 T5
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run: its folder, or its name in runs/; example: the one that comes with the package."""
    circuits: Annotated[Positional[tuple[str, ...]], arg(metavar="[CIRCUIT ...]")] = ()
    """Circuits by name, as they are called in RUN/circuits, or folders of saved ones; none: all."""
    level: Level = "standard"
    """How thoroughly."""
    only: Annotated[tuple[str, ...], arg(metavar="[TEST ...]")] = ()
    """These tests alone, such as T4 T12; no card is written then."""
    out: Path | None = None
    """Write cards to this folder, as TASK.json; those of a bundled run are written nowhere else."""
    again: bool = False
    """Make cards anew that are there."""
    task: Annotated[tuple[str, ...], arg(metavar="[FILE ...]")] = ()
    """The .py files of your own tasks: a run keeps other tasks, but runs no code of its folder."""
    weights: int = 3
    """--level full: models with random weights, and as many with shuffled ones."""
    seeds: int = 10
    """--level full: prunings with other seeds, for the test of stability; 0 and no bootstraps: without it."""
    bootstraps: int = 5
    """--level full: prunings on training pairs drawn again."""
    seed: int = 0
    """Of prompts and draws."""
    json: bool = False
    """Print JSON instead of tables."""

    def validate(self) -> None:
        if min(self.weights, self.seeds + 1, self.bootstraps + 1) < 1:
            raise ConfigError("--weights is at least 1, --seeds and --bootstraps are at least 0")
        for test in self.only:
            if test not in KINDS:
                raise ConfigError(f"no test {test!r}; {near_misses(test.upper(), KINDS)}")
            if test == "T21":
                raise ConfigError("T21 needs a truth: sparsecircuits planted score")
            if LEVELS.index(KINDS[test].level) > LEVELS.index(self.level):
                raise ConfigError(
                    f"{test} is not run at --level {self.level}; --level {KINDS[test].level} does"
                )
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise ConfigError(f"--out is {self.out}, which is a file; it must be a folder")


def run(options: Options) -> int:
    """Check and print; 1 if a circuit is not Sufficient."""
    run = open_run(options.run)
    asked = _asked(run, options.circuits)
    cards = check_circuits(run, asked, options)
    if options.json:
        print_json(
            {
                "run": str(run.folder),
                "circuits": [_summary(card) for card in cards],
                "cards": [card.to_dict() for card in cards],
            }
        )
    elif len(cards) == 1:
        print_card(cards[0])
    else:
        print_cards(cards)
    ours = any(folder.parent == run.circuits for _, folder in asked)
    if ours and not is_read_only(run) and not options.only and options.out is None:
        _write_page(run, options)
    states = [verdict.state for card in cards for verdict in card.verdicts if verdict.name == "Sufficient"]
    return 1 if "no" in states else 0


def _asked(run: Run, words: Sequence[str]) -> list[tuple[Circuit, Path]]:
    """The circuits that the words mean, each with its folder."""
    from sparsecircuits.circuit.files import CIRCUIT_FILE, load_circuit

    folders = [Path(word) for word in words if (Path(word) / CIRCUIT_FILE).is_file()]
    names = [word for word in words if Path(word) not in folders]
    found = [(load_circuit(folder), folder) for folder in folders]
    if names or not words:
        found += [(circuit, run.circuits / circuit.task) for circuit in saved_circuits(run, names)]
    return found


def check_circuits(run: Run, circuits: Sequence[tuple[Circuit, Path]], options: Options) -> list[Card]:
    """One card for each circuit, loaded or made."""
    from sparsecircuits.cli.view import read_tasks
    from sparsecircuits.study.check import CheckPlan, RunChecker
    from sparsecircuits.viz.collect import task_of

    read_only = is_read_only(run)
    if read_only and options.level == "full":
        raise ConfigError(
            "--level full keeps prunings in RUN, and nothing is written into a bundled run or one on the Hub"
        )
    plan = CheckPlan(
        level=options.level,
        only=options.only,
        again=options.again,
        weights=options.weights,
        seeds=options.seeds,
        bootstraps=options.bootstraps,
        seed=options.seed,
    )
    tasks, cards = read_tasks(options.task), []
    checker = RunChecker(run, plan)
    with Progress() as progress:
        for circuit, folder in circuits:
            task = task_of(circuit, run, tasks)
            path = _card_path(circuit, folder, options, read_only)
            card = None if path is None else checker.load(circuit, task, path)
            bar = progress.add(f"check {circuit.task}" + (f": shown from {path}" if card else ""))
            if card is None:

                def tell(what: str, done: int, of: int, bar: Any = bar) -> None:
                    bar.total = of
                    bar.update(done, remark=what)

                card = checker.check(circuit, task, path, folder=folder, watch=tell)
            bar.total = bar.total or 1
            bar.update(bar.total)
            cards.append(card)
    return cards


def _card_path(circuit: Circuit, folder: Path, options: Options, read_only: bool) -> Path | None:
    """Where a card goes: nowhere for a run that is only read or single tests, unless a folder is given."""
    from sparsecircuits.validate.card import CARD_FILE

    if options.only:
        return None
    if options.out is not None:
        return options.out / f"{circuit.task.replace(':', '_')}.json"
    return None if read_only else folder / CARD_FILE


def print_card(card: Card) -> None:
    """The table of tests, then the verdicts, each with what failed or is missing."""
    told = card.to_dict()
    about = told["about"]
    rows = []
    for test in told["tests"]:
        interval = test["interval"]
        shown = f"{interval[0]:.3g} to {interval[1]:.3g}" if interval else None
        rows.append({**test, "range": shown})
    title = (
        f"{card.task}: {about['nodes']} nodes, {about['edges']} edges, target {about['target']}, "
        f"found with {about['objective']}; {card.level} check"
    )
    print_table(rows, TEST_COLUMNS, title=title)
    for test in told["tests"]:
        passes = f"to pass: {test['passes']}" if test["word"] == "FAIL" else ""
        if test["note"] or passes:
            said = "; ".join(part for part in (test["note"], passes) if part)
            print(f"{test['test']} {test['word']}: {said}")
    for line in _reported(told["reports"]):
        print(line)
    why = reasons(card, names=True)
    for verdict in card.verdicts:
        print(f"{verdict.name + ':':<12} {verdict.state:<5} {why.get(verdict.name, verdict.meaning)}")


def print_cards(cards: Sequence[Card]) -> None:
    """The table of verdicts; below it, a line for each circuit, what stands against any that is not "yes"."""
    rows = [_summary(card) for card in cards]
    print_table(rows, CARD_COLUMNS)
    for row in rows:
        against = "; ".join(f"{name} {row['verdicts'][name]}: {why}" for name, why in row["why"].items())
        if against:
            print(f"{row['task']}: {against}")
    told = re.findall(r"T\d+", " ".join(why for row in rows for why in row["why"].values()))
    named = [f"{test} {kind.name}" for test, kind in KINDS.items() if test in told]
    if named:
        print(f"({', '.join(named)})")


def _reported(reports: Mapping[str, Any]) -> Iterator[str]:
    """What was measured beside the tests, a line each."""
    if (steps := reports.get("binarised")) is not None:
        taken = f"{len(steps['taken'])} of {len(steps['steps'])}"
        yield (
            f"every node a two-level step: loss {steps['loss']:.3f} for {steps['plain']:.3f}, accuracy "
            f"{steps['accuracy']:.1%}; {taken} can be steps within the target"
        )
    if (text := reports.get("distribution")) is not None:
        random = text["random_removed"]
        beside = f" (a random circuit: {random[0]:+.3f})" if random else ""
        yield (
            f"on training text: {text['removed'][0]:+.3f} nats a token without the circuit{beside}; "
            f"it uses {text['edges']} of the {text['component_edges']} edges of its nodes"
        )


def reasons(card: Card, *, names: bool = False) -> dict[str, str]:
    """Verdict -> what stands against it, for each that is not "yes": tests that fail, or that are missing.

    Args:
        card: of one circuit.
        names: whether tests that fail are named in words too.
    """
    first, found = card.verdicts[0], {}
    for verdict in card.verdicts:
        open_yet = [test for test in verdict.missing if card.outcome(test)]
        unrun = [test for test in verdict.missing if test not in open_yet]
        failed = [f"{test} {KINDS[test].name}" if names else test for test in verdict.failed]
        parts = [f"fails {(', ' if names else ' ').join(failed)}"] if failed else []
        if verdict.name != first.name and first.state != "yes" and not failed:
            parts.append("needs Sufficient")
        parts += [f"{' '.join(unrun)} not run"] if unrun else []
        parts += [f"{' '.join(open_yet)} undecided"] if open_yet else []
        if verdict.state != "yes":
            found[verdict.name] = ", ".join(parts)
    return found


def _summary(card: Card) -> dict[str, Any]:
    failed = [outcome.test for outcome in card.outcomes if outcome.passed is False]
    return {
        "task": card.task,
        **{key: card.about[key] for key in ("nodes", "edges")},
        "verdicts": {verdict.name: verdict.state for verdict in card.verdicts},
        "why": reasons(card),
        "failed": " ".join(failed),
    }


def _write_page(run: Run, options: Options) -> None:
    """The page of all the run's circuits, with their cards."""
    from sparsecircuits.cli.view import read_tasks
    from sparsecircuits.viz.collect import circuit_page

    page = run.circuits / "index.html"
    circuit_page(run, saved_circuits(run), page, tasks=read_tasks(options.task))
    print(f"page: {page}", file=sys.stderr if options.json else sys.stdout)
