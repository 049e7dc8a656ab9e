"""``sparsecircuits planted``: models whose circuits are known, and how well a pruner finds them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError

if TYPE_CHECKING:
    from sparsecircuits.validate.planted import Part, PlantedModel, TruthCheck

PrunerName = Literal["task", "faithful", "paper", "attribution", "integrated", "magnitude", "random"]

PROGRAM_COLUMNS = (
    Column("name", "program"),
    Column("nodes", "nodes", "d"),
    Column("edges", "edges", "d"),
    Column("about", "task"),
    Column("how", "how"),
)
SCORE_COLUMNS = (
    Column("pruner", "pruner"),
    Column("program", "program"),
    Column("level", "level", "d"),
    Column("models", "models", "d"),
    Column("node_f1", "node F1", ".3f"),
    Column("node_precision", "precision", ".3f"),
    Column("node_recall", "recall", ".3f"),
    Column("edge_f1", "edge F1", ".3f"),
    Column("completeness", "complete", ".3f"),
    Column("cancelling_errors", "half pairs", "d"),
    Column("failed", "failed", "d"),
    Column("nodes", "nodes", ".1f"),
    Column("edges", "edges", ".1f"),
    Column("seconds", "seconds", ".1f"),
)
RATE_COLUMNS = (
    Column("name", "what"),
    Column("wrong", "wrong", "d"),
    Column("count", "of", "d"),
    Column("share", "share", ".1%"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Score pruners on planted models: weights written by hand, so that the true circuit is known.

    list names the five programs; show says which nodes and edges one of them consists of, and checks that by
    intervention; score prunes 5 programs x 8 seeds x 3 levels = 120 models (or some of them) and compares
    what is found with the truth. F1 is 1 where exactly the true nodes (or edges) were found. Levels: 1, other
    programs and noise beside; 2, also two nodes that cancel, and redundant copies of a part; 3, also another
    program on one of the channels, and AbsTopK. "complete": share of all copies that were found. "half
    pairs": circuits with one of two nodes that cancel, so with a function that the model does not have.
    "failed": no circuit at all. calibrate puts the true circuit of every model, and false ones, to
    the tests of sparsecircuits check: how often does a true one fail, or a false one pass?

    Example: sparsecircuits planted score --quick --pruner task attribution
    """

    action: Annotated[
        Positional[Literal["list", "show", "score", "calibrate"]], arg(metavar="list|show|score|calibrate")
    ] = "list"
    """list the programs, show one, score pruners, or calibrate the tests of the report card."""
    program: Annotated[Positional[str | None], arg(metavar="PROGRAM")] = None
    """The program to show, or to score alone."""
    pruner: tuple[PrunerName, ...] = ("task",)
    """Pruners to score: learned masks (task, faithful, paper), or a baseline that bisects a ranking."""
    quick: bool = False
    """One seed instead of eight: 15 models, half a minute to a minute for task."""
    seeds: int | None = None
    """So many seeds, from 0 on; none: eight."""
    level: int | None = None
    """This level only; to show, 1 if not given."""
    controls: bool = False
    """calibrate: prune each model for its task, for nonsense and with random weights too (T8, T9)."""
    seed: int = 0
    """Which model to show."""
    json: bool = False
    """Print JSON instead."""


def run(options: Options) -> None:
    """List, show or score."""
    if options.action == "score":
        _score(options)
    elif options.action == "calibrate":
        _calibrate(options)
    elif options.action == "show":
        _show(options)
    elif options.program is not None:
        raise ConfigError("either sparsecircuits planted list, or sparsecircuits planted show PROGRAM")
    else:
        _list(options)


def _list(options: Options) -> None:
    from sparsecircuits.validate.planted import PROGRAMS, plant

    rows = []
    for program in PROGRAMS.values():
        (part,) = plant(program.name).truth.minimal
        sizes = {"nodes": len(part.nodes), "edges": len(part.edges)}
        rows.append({"name": program.name, **sizes, "about": program.task.about, "how": program.how})
    print_json(rows) if options.json else print_table(rows, PROGRAM_COLUMNS)


def _show(options: Options) -> None:
    from sparsecircuits.validate.planted import LEVELS, check_truth, plant

    if options.program is None:
        raise ConfigError("name a program: sparsecircuits planted show PROGRAM; planted list has them")
    level = 1 if options.level is None else options.level
    planted = plant(options.program, options.seed, level)
    check = check_truth(planted)
    if options.json:
        print_json(_shown(planted, check))
        return
    program = planted.program
    pair = program.task.texts("heldout", 1, seed=options.seed)[0]
    print(f"{program.name}: {program.task.about}")
    print(f"  {program.how}")
    print(f"  {pair.left!r} → {pair.left_answer!r}   {pair.right!r} → {pair.right_answer!r}")
    print(
        f"model: seed {planted.seed}, {planted.model.config.node_count} nodes; level {level}: {LEVELS[level]}"
    )
    print("channels: " + ", ".join(f"{role} {channel}" for role, channel in planted.channels.items()))
    roles = {channel: role for role, channel in planted.channels.items()}
    for number, part in enumerate(planted.truth.minimal, start=1):
        which = f" {number} of {len(planted.truth.minimal)}" if len(planted.truth.minimal) > 1 else ""
        print(f"\nminimal set{which}: {len(part.nodes)} nodes, {len(part.edges)} edges")
        print("\n".join(_lines(part, roles)))
    for one, other in planted.truth.cancelling:
        print(f"\ncancel each other: {one}, {other}")
    print(f"\nresampling all else moves the answers' logits by {check.shift:.1e} of the largest")
    for loss, (broken, node) in zip(check.losses, check.broken, strict=True):
        print(f"loss {loss:.4f} with all of it, at least {broken:.3f} without any one node ({node})")


def _lines(part: Part, roles: dict[int, str]) -> list[str]:
    """A line for each node, with its role where it is a channel and with what it reads."""
    lines = []
    for node in sorted(part.nodes):
        channel = node.site.endswith(("act_in", "resid_delta"))
        sources = sorted(source for source, target in part.edges if target == node)
        note = f"({roles[node.index]})" if channel else ""
        reads = " ← " + ", ".join(map(str, sources)) if sources else ""
        lines.append(f"  {str(node):<22}{note:<14}{reads}".rstrip())
    return lines


def _shown(planted: PlantedModel, check: TruthCheck) -> dict[str, Any]:
    def listed(part: Part) -> dict[str, Any]:
        edges = [[str(source), str(target)] for source, target in sorted(part.edges)]
        return {"nodes": [str(node) for node in sorted(part.nodes)], "edges": edges}

    return {
        "program": planted.program.name,
        "seed": planted.seed,
        "level": planted.level,
        "channels": dict(planted.channels),
        "minimal": [listed(part) for part in planted.truth.minimal],
        "cancelling": [[str(node) for node in pair] for pair in planted.truth.cancelling],
        "check": {
            "holds": check.holds(),
            "shift": check.shift,
            "full_loss": check.full_loss,
            "losses": list(check.losses),
            "losses_without_a_node": [loss for loss, _ in check.broken],
        },
    }


def _score(options: Options) -> None:
    from sparsecircuits.validate.planted import (
        EDGE_GOAL,
        NODE_GOAL,
        PRUNERS,
        means_of,
        planted_models,
        score_pruner,
    )

    programs, seeds, levels = _models(options)
    found = {}
    with Progress() as progress:
        for name in dict.fromkeys(options.pruner):
            bar = progress.add(f"prune by {name}", len(programs) * len(levels) * seeds)
            bar.update(0)
            found[name] = score_pruner(
                PRUNERS[name], planted_models(programs, range(seeds), levels), bar.update
            )
    means = {
        name: [dataclasses.asdict(mean) for mean in means_of(results)] for name, results in found.items()
    }
    if options.json:
        goal = {"node_f1": NODE_GOAL, "edge_f1": EDGE_GOAL}
        results = {name: [dataclasses.asdict(result) for result in some] for name, some in found.items()}
        print_json({"goal": goal, "means": means, "results": results})
        return
    rows = [{"pruner": name, **mean} for name, some in means.items() for mean in some]
    print_table([{**row, "program": row["program"] or "all"} for row in rows], SCORE_COLUMNS)
    print(f"goal: node F1 {NODE_GOAL}, edge F1 {EDGE_GOAL}, over all")


def _models(options: Options) -> tuple[list[str], int, list[int]]:
    """Programs, number of seeds, and levels."""
    from sparsecircuits.validate.planted import LEVELS, PROGRAMS, SEEDS, get_program

    if options.quick and options.seeds is not None:
        raise ConfigError(f"--quick means --seeds 1; leave out one of --quick and --seeds {options.seeds}")
    seeds = 1 if options.quick else SEEDS if options.seeds is None else options.seeds
    if seeds < 1:
        raise ConfigError(f"--seeds is {seeds}; it must be at least 1")
    if options.level is not None and options.level not in LEVELS:
        raise ConfigError(f"--level is {options.level}; known: {', '.join(map(str, LEVELS))}")
    programs = list(PROGRAMS) if options.program is None else [get_program(options.program).name]
    return programs, seeds, list(LEVELS) if options.level is None else [options.level]


def _calibrate(options: Options) -> None:
    from sparsecircuits.validate.calibrate import ALLOWED, calibrate
    from sparsecircuits.validate.planted import planted_models

    programs, seeds, levels = _models(options)
    total = len(programs) * len(levels) * seeds
    with Progress() as progress:
        bar = progress.add("calibrate", total)
        found = calibrate(
            planted_models(programs, range(seeds), levels),
            controls=options.controls,
            watch=lambda done, planted, kind: bar.update(done),
        )
        bar.update(total)
    if options.json:
        judged = [
            {
                **{key: getattr(one, key) for key in ("program", "seed", "level", "kind", "robust")},
                "tests": {test: outcome.to_dict() for test, outcome in one.outcomes.items()},
            }
            for one in found.judged
        ]
        rates = {
            name: [{**dataclasses.asdict(rate), "share": rate.share} for rate in getattr(found, name)]
            for name in ("false_fails", "false_passes", "bare")
        }
        print_json({"models": total, "allowed": ALLOWED, "passed": found.passed, **rates, "judged": judged})
        return
    for title, rates in (
        ("true circuits that fail", found.false_fails),
        ("false circuits that pass", found.false_passes),
        ("true circuits without the pair that cancels, that fail (not judged)", found.bare),
    ):
        rows = [{**dataclasses.asdict(rate), "share": rate.share} for rate in rates]
        print_table(rows, RATE_COLUMNS, title=title)
    print(f"allowed: {ALLOWED:.0%} each; {'held' if found.passed else 'NOT held'}, over {total} models")
