"""``sparsecircuits bridge steer`` and ``transfer``: a circuit's nodes, carried into the dense model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sparsecircuits.cli.arguments import dense_place, is_read_only, open_run, saved_circuits
from sparsecircuits.cli.progress import Progress
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from sparsecircuits.bridges.files import Pair
    from sparsecircuits.bridges.report import Kind
    from sparsecircuits.circuit import Circuit
    from sparsecircuits.cli.bridge import Options
    from sparsecircuits.tasks.pairs import TokenPairs
    from sparsecircuits.train import Run

#: What the directions are, for people.
WORDS = {
    "bridge": "the node, through the bridge",
    "random": "random, of equal norm",
    "means": "the dense model's own means",
    "gradient": "the best by gradient",
    "circuit": "the circuit's nodes",
    "rest": "all other channels",
    "all": "all channels",
    "own": "the dense model's own",
}
STEERED = (
    Column("task", "task"),
    Column("node", "node"),
    Column("direction", "direction"),
    Column("before", "P(other)", ".3f"),
    Column("after", "at strength 1", ".3f"),
    Column("interval", "95%"),
    Column("pair_before", "of the two", ".3f"),
    Column("pair_after", "at strength 1", ".3f"),
    Column("pair_interval", "95%"),
)
CARRIED = (
    Column("task", "task"),
    Column("what", "what is carried"),
    Column("share", "share of its change of mind", ".1%"),
    Column("interval", "95%"),
    Column("flips", "answers that flip", ".1%"),
    Column("nodes", "nodes", "d"),
)


class Case(NamedTuple):
    """A circuit, and the prompts that it is tried on."""

    circuit: Circuit
    heldout: TokenPairs
    reference: TokenPairs


def steer(options: Options) -> None:
    """Steer through the best node of each circuit, or through the one that was named."""
    from sparsecircuits.bridges.steering import best_node, steer
    from sparsecircuits.model import Node
    from sparsecircuits.viz.bridge_charts import steering_figure

    run, pair = _opened(options)
    sides = pair.dense.side, pair.sparse, pair.bridge
    node = None if options.node is None else Node.parse(options.node)

    def one(case: Case) -> dict[str, Any]:
        ranking = None
        if node is None:
            ranking = best_node(*sides, case.reference, circuit=case.circuit, side=options.side)
        found = steer(
            *sides,
            node or ranking[0].node,  # type: ignore[index]
            case.heldout,
            case.reference,
            draws=options.draws,
            seed=options.seed,
            side=options.side,
            circuit=case.circuit,
            ranking=ranking,
        )
        return found.to_dict()

    def line(told: dict[str, Any]) -> str:
        return (
            f"{told['task']}: {told['prompts']} held-out prompts, {told['right']:.1%} answered rightly when "
            f"not steered; P(other) is the probability of the answer to the pair's other prompt"
        )

    found = _each(run, options, pair, "steering", one)
    picture = _draw(run, options, "steering", found, steering_figure)
    _tell(options, found, _steered, STEERED, line, picture)


def transfer(options: Options) -> None:
    """Carry each circuit's nodes over at once."""
    from sparsecircuits.bridges.transfer import transfer
    from sparsecircuits.viz.bridge_charts import transfer_figure

    if options.node is not None or options.side != "both":
        raise ConfigError("--node and --side are of steer; transfer carries all of a circuit's nodes")
    run, pair = _opened(options)
    sides = pair.dense.side, pair.sparse, pair.bridge

    def one(case: Case) -> dict[str, Any]:
        more = {"draws": options.draws, "seed": options.seed}
        return transfer(*sides, case.circuit, case.heldout, case.reference, **more).to_dict()

    def line(told: dict[str, Any]) -> str:
        return (
            f"{told['task']}: {told['prompts']} prompts; {told['left_out']} of the circuit's nodes do not "
            f"read the residual stream, and are not carried"
        )

    found = _each(run, options, pair, "transfer", one)
    picture = _draw(run, options, "transfer", found, transfer_figure)
    _tell(options, found, _carried, CARRIED, line, picture)


def _each(
    run: Run, options: Options, pair: Pair, kind: Kind, one: Callable[[Case], dict[str, Any]]
) -> list[dict[str, Any]]:
    """What ``one`` finds for each circuit, kept as soon as it is there; those for which it cannot are told.

    Raises:
        ConfigError: it can for none.
    """
    from sparsecircuits.bridges.report import result_path, write_result

    found, refused = [], []
    cases = _cases(run, options, pair)
    with Progress() as progress:
        bar = progress.add(f"{kind} through {run.name}", total=len(cases))
        for done, case in enumerate(cases, 1):
            try:
                result = one(case)
            except ConfigError as error:
                refused.append(f"{case.circuit.task}: {error}")
                continue
            found.append(result)
            if not is_read_only(run):
                write_result(result, result_path(run, kind, result["task"]))
            bar.update(done)
    if not found:
        raise ConfigError("; ".join(refused))
    for told in refused:
        print(f"left out: {told}", file=sys.stderr)
    return found


def _opened(options: Options) -> tuple[Run, Pair]:
    from sparsecircuits.bridges.files import load_pair
    from sparsecircuits.train.devices import device_of

    for name in ("pairs", "draws"):
        if getattr(options, name) < 1:
            raise ConfigError(f"--{name} is {getattr(options, name)}; it must be at least 1")
    run = open_run(options.run)
    return run, load_pair(run, dense_place(options.dense)).to(device_of(options.device))


def _cases(run: Run, options: Options, pair: Pair) -> list[Case]:
    """The circuits that are there, or those of ``--task``, with their prompts.

    Raises:
        CheckpointError: no circuit yet, and the message says how to make one; or one of another model.
    """
    from sparsecircuits.circuit import model_hash
    from sparsecircuits.tasks.own import resolve_task

    tokenizer, cases = run.tokenizer(), []
    device = next(pair.bridge.parameters()).device
    room = min(pair.dense.side.n_ctx, pair.sparse.n_ctx)
    own = model_hash(pair.sparse.model)
    for circuit in saved_circuits(run, options.task):
        if circuit.info.get("model_sha256", own) != own:
            raise CheckpointError(
                f"{run.circuits / circuit.task}: of another model than the run's; prune the task anew"
            )
        task = resolve_task(circuit.task, run.folder)
        longest = min(room, circuit.info.get("config", {}).get("max_tokens", room))
        drawn = [
            task.pairs(tokenizer, split, options.pairs, seed=options.seed, max_tokens=longest).to(device)
            for split in ("heldout", "train")
        ]
        cases.append(Case(circuit, *drawn))
    return cases


def _draw(run: Run, options: Options, kind: Kind, found: list[dict[str, Any]], draw: Any) -> Path | None:
    """Draw all tasks; where the picture is, or None."""
    from sparsecircuits.bridges.report import picture_path
    from sparsecircuits.viz.style import save_chart

    picture = options.picture
    if picture is None and not is_read_only(run):
        picture = picture_path(run, kind)
    if picture is not None:
        save_chart(draw(found), picture)
    return picture


def _tell(
    options: Options,
    found: list[dict[str, Any]],
    rows: Callable[[dict[str, Any]], list[dict[str, Any]]],
    columns: Sequence[Column],
    line: Callable[[dict[str, Any]], str],
    picture: Path | None,
) -> None:
    """The results as JSON; or as a table, with a line below it for each task and one for the picture."""
    if options.json:
        print_json(found)
        return
    print_table([row for told in found for row in rows(told)], columns)
    for told in found:
        print(line(told))
    if picture is not None:
        print(f"picture: {picture}")


def _steered(one: dict[str, Any]) -> list[dict[str, Any]]:
    curves = [(WORDS[curve["name"]], curve) for curve in one["directions"]]
    if one["side"] == "both":
        curves[1:1] = [(f"   {side} prompts alone", curve) for side, curve in one["sides"].items()]
    return [
        {
            "task": one["task"],
            "node": one["node"],
            "direction": words,
            "before": curve["p_other"][0],
            "after": curve["p_other"][-1],
            "interval": f"{curve['p_other_low'][-1]:.3f} to {curve['p_other_high'][-1]:.3f}",
            "pair_before": curve["pair"][0],
            "pair_after": curve["pair"][-1],
            "pair_interval": f"{curve['pair_low'][-1]:.3f} to {curve['pair_high'][-1]:.3f}",
        }
        for words, curve in curves
    ]


def _carried(one: dict[str, Any]) -> list[dict[str, Any]]:
    count = {"circuit": len(one["nodes"]), "random": one["random_nodes"]}
    return [
        {
            "task": one["task"],
            "what": f"{len(one['share']['random']['per_draw'])} draws of as many random nodes"
            if name == "random"
            else WORDS[name],
            "share": share["estimate"],
            "interval": f"{share['low']:.1%} to {share['high']:.1%}",
            "flips": one["flips"][name]["estimate"],
            "nodes": count.get(name),
        }
        for name, share in one["share"].items()
    ]
