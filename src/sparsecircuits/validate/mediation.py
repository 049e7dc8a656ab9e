"""T26, mediation: does what a circuit reads act on the answer through what the circuit writes?

In the full model, with all else live:

1. for each sublayer in which the circuit keeps nodes that read and nodes that write: the reading side
   (act_in, q, k and v, or act_in and post_act) takes the values that it has on the other prompt of the pair,
   at every token, and the logit difference moves. Then the kept writes are put back to what they are on the
   prompt itself. What is still moved went past the circuit. The share that was undone, over all prompts and
   sublayers by the size of the effect, is the estimate. Beside it: as many other writes put back.
2. path patching: a single edge carries what it carries on the other prompt, so that ``w * (a' - a)`` is added
   to its target before any nonlinearity. The circuit's largest edges, and others of like size; told, not
   judged.

A sublayer whose reading side moves the answer next to not at all is told, not judged. If that is so of all of
them the test fails: the circuit's story is of nodes that do not matter. (Chang 2025 finds 0.74 to 0.87 undone
at true sites.) Where several circuits do the task, all of them are meant (``subject.complete``). Cuts and
gains play no part in the full model, but an edge that is cut is not one of the circuit's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit.edges import Edge
from sparsecircuits.model import SparseGPT, intervene
from sparsecircuits.model.gpt import Block
from sparsecircuits.model.hooks import Hook, hooked
from sparsecircuits.model.sites import Site
from sparsecircuits.validate.interval import ratio_rows
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS
from sparsecircuits.validate.weights import other_weights, partners

#: What a sublayer reads and works out, and what it writes.
SUBLAYERS = {
    "attn": (("attn.act_in", "attn.q", "attn.k", "attn.v"), "attn.resid_delta"),
    "mlp": (("mlp.act_in", "mlp.post_act"), "mlp.resid_delta"),
}
#: An effect below this share of the model's mean logit difference is next to nothing.
NEGLIGIBLE = 0.01
#: Where an edge's source is recorded, and the matrix that reads it.
_EDGES = {
    "attn.act_in": ("attn.act_in", "attn.c_attn"),
    "attn.v": ("attn.y", "attn.c_proj"),  # a value comes mixed by the head's pattern
    "mlp.act_in": ("mlp.act_in", "mlp.c_fc"),
    "mlp.post_act": ("mlp.post_act", "mlp.c_proj"),
}
_THIRDS = ("attn.q", "attn.k", "attn.v")

#: Site name -> which of its nodes.
Chosen = Mapping[str, Tensor]


class Moved(NamedTuple):
    """How far the logit difference of each prompt is moved, [rows], without sign.

    Attributes:
        effect: by what the reading side has on the other prompt.
        left: with the circuit's writes put back.
        control: with other writes put back.
        writes: how many were put back.
        others: how many in the control; fewer where not as many are active.
    """

    effect: Tensor
    left: Tensor
    control: Tensor
    writes: int
    others: int


@torch.no_grad()
def mediation(subject: Subject, *, edges: int = 20, draws: int = 3) -> Outcome:
    """Judge T26: the share of a change of what the circuit reads that restoring its writes undoes.

    Args:
        subject: its ``complete`` circuit is meant.
        edges: at most so many, the largest, have their paths patched.
        draws: of other writes that are put back.
    """
    model, pairs = subject.model, subject.some
    kept = {name: torch.nonzero(keep).flatten() for name, keep in subject.complete.keep_masks().items()}
    generator = torch.Generator().manual_seed(subject.seed)
    full = subject.leads(model(pairs.tokens, pairs.last), pairs)
    size = float(full.abs().mean())
    moved: dict[str, Moved] = {}
    for layer in range(model.config.n_layer):
        for name, (reads, writes) in SUBLAYERS.items():
            reading = {f"{layer}.{site}": kept[f"{layer}.{site}"] for site in reads}
            written = f"{layer}.{writes}"
            if any(len(nodes) for nodes in reading.values()) and len(kept[written]):
                moved[f"{layer}.{name}"] = _moved(
                    subject, reading, (written, kept[written]), full, draws, generator
                )
    if not moved:
        return Outcome.not_applicable("T26", "in no sublayer does the circuit both read and write")
    judged = [one for one in moved.values() if float(one.effect.mean()) > NEGLIGIBLE * size]
    values = torch.zeros(len(full))
    if judged:
        values = 1 - ratio_rows(_total(one.left for one in judged), _total(one.effect for one in judged))
    estimate = float(values.mean())
    return Outcome(
        test="T26",
        estimate=estimate,
        interval=subject.interval(values, pairs) if judged else None,
        control=_undone(judged, lambda one: one.control) if judged else None,
        passed=bool(judged) and estimate >= THRESHOLDS.mediation,
        figures={
            "logit_difference": float(full.mean()),
            "sublayers": {
                name: _told(one, any(one is other for other in judged)) for name, one in moved.items()
            },
            "paths": _paths(subject, full, edges, generator),
        },
        settings=subject.settings(
            pairs,
            ablated="nothing; the full model with the circuit's reading side patched, its writes restored",
            values="those on the other prompt of the pair",
            control="as many active writes outside the circuit restored",
            circuit="all circuits that do the task" if subject.complete is not subject.circuit else "itself",
            draws=draws,
            edges=edges,
        ),
        note="" if judged else "no sublayer's reading side moves the answer",
    )


@contextmanager
def edge_patched(model: SparseGPT, edge: Edge, change: Tensor) -> Generator[None]:
    """While it lasts, ``edge`` carries ``weight * change`` more than it does.

    Args:
        model: the full model.
        edge: of it.
        change: [rows, pos] of the source's value; of a v channel, after its head has mixed it.
    """
    block = model.blocks[edge.source.layer]
    assert isinstance(block, Block)
    matrix = block.get_submodule(_EDGES[edge.source.site][1])
    third = _THIRDS.index(edge.target.site) if edge.target.site in _THIRDS else 0
    row = third * model.config.width("attn.q") + edge.target.index

    def add(_module: object, _inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[..., row] += edge.weight * change
        return output

    handle = matrix.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _moved(
    subject: Subject,
    reading: Chosen,
    writing: tuple[str, Tensor],
    full: Tensor,
    draws: int,
    generator: torch.Generator,
) -> Moved:
    """Patch the reading side, and put writes back."""
    written, own = writing
    others = subject.active[written]
    others = others[~torch.isin(others, own)]
    values = _recorded(subject, {**reading, written: torch.arange(subject.model.config.d_model)})
    swapped = {name: _partner(values[name]) for name in reading}

    def left(back: Tensor) -> Tensor:
        with ExitStack() as stack:
            stack.enter_context(_holding(subject.model, reading, swapped))
            stack.enter_context(
                _holding(subject.model, {written: back}, {written: values[written][..., back]})
            )
            return (full - _lead(subject)).abs()

    none = own[:0]
    drawn = [others[torch.randperm(len(others), generator=generator)[: len(own)]] for _ in range(draws)]
    control = _total(left(back) for back in drawn) / draws
    return Moved(left(none), left(own), control, len(own), min(len(own), len(others)))


def _recorded(subject: Subject, chosen: Chosen) -> dict[str, Tensor]:
    """Site name -> [rows, pos, chosen] values in the full model."""
    found: dict[str, Tensor] = {}

    def keep(nodes: Tensor) -> Hook:
        def hook(tensor: Tensor, *, hook: Site) -> None:
            found[hook.name] = tensor[..., nodes]

        return hook

    with hooked(subject.model, [(name, keep(nodes)) for name, nodes in chosen.items()]):
        _lead(subject)
    return found


def _holding(model: SparseGPT, chosen: Chosen, values: Mapping[str, Tensor]) -> AbstractContextManager[None]:
    """A context in which the chosen nodes have ``values`` [rows, pos, chosen] of their site."""

    def hold(nodes: Tensor, value: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: x.index_copy(-1, nodes, value)

    return intervene(model, {name: hold(nodes, values[name]) for name, nodes in chosen.items() if len(nodes)})


def _lead(subject: Subject) -> Tensor:
    """[rows] the logit differences as the model runs now; rows apart, as their patches are."""
    pairs = subject.some
    return subject.leads(subject.model(pairs.tokens, pairs.last), pairs)


def _partner(x: Tensor) -> Tensor:
    """[rows, ...] of each prompt's partner."""
    return x.roll(len(x) // 2, 0)


def _paths(subject: Subject, full: Tensor, count: int, generator: torch.Generator) -> dict[str, object]:
    """What patching single edges does: the circuit's largest, and others of like size."""
    own = sorted(subject.complete.edges(subject.model), key=lambda edge: -abs(edge.weight))[:count]
    others = partners(other_weights(subject.model, subject.complete), own, generator).edges
    both = [*own, *others]
    sources: dict[str, list[int]] = {}
    for edge in both:
        sources.setdefault(_source_site(edge), []).append(edge.source.index)
    values = _recorded(subject, {site: torch.tensor(nodes) for site, nodes in sources.items()})
    effects = {}
    for edge in both:
        site = _source_site(edge)
        value = values[site][..., sources[site].index(edge.source.index)]
        effects[edge.ends] = _patched(subject, edge, value, full)

    def told(edges: Sequence[Edge]) -> list[dict[str, object]]:
        return [{"edge": str(edge), "effect": effects[edge.ends]} for edge in edges]

    def mean(edges: Sequence[Edge]) -> float | None:
        return sum(effects[edge.ends] for edge in edges) / len(edges) if edges else None

    return {"circuit": mean(own), "others": mean(others), "edges": told(own), "other_edges": told(others)}


def _source_site(edge: Edge) -> str:
    """Where the value that the edge carries is recorded."""
    return f"{edge.source.layer}.{_EDGES[edge.source.site][0]}"


def _patched(subject: Subject, edge: Edge, value: Tensor, full: Tensor) -> float:
    """Mean size of what the counterfactual of the source's ``value`` [rows, pos] does to the lead."""
    with edge_patched(subject.model, edge, _partner(value) - value):
        return float((full - _lead(subject)).abs().mean())


def _total(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(0)


def _undone(moved: Sequence[Moved], left: Callable[[Moved], Tensor]) -> float:
    return 1 - float(_total(map(left, moved)).sum() / _total(one.effect for one in moved).sum())


def _told(one: Moved, judged: bool) -> dict[str, object]:
    effect = float(one.effect.mean())
    return {
        "effect": effect,
        "left": float(one.left.mean()),
        "control_left": float(one.control.mean()),
        "undone": 1 - float(one.left.mean()) / effect if judged else None,
        "writes": one.writes,
        "other_writes": one.others,
        "judged": judged,
    }
