"""One circuit's part of the page's document: the model is run in the modules named.

1. its figures, as pruning stored them in ``circuit.info``, or measured where they are missing or belong to
   another number of nodes or edges (``measured``);
2. each node's facts: frozen value, *effect* (rise of the circuit's scaled task loss on held-out pairs when
   this node alone is removed from it; in a large circuit a first-order estimate), tokens whose embedding
   writes the channel that it reads, the logits that the channel which it writes moves, positions that it
   reads; and the effects of whole layers, sublayers and sites (``facts``);
3. edges that are not cut, and the residual stream between a write and every later read of its channel;
4. a few held-out pairs with every node's activation, token by token, while the circuit is installed
   (``facts``), and what the heads attend to there, with the circuit and without (``attention``);
5. where training text is given: where on it each node of the full model is active (``samples``);
6. the curve of the pruning that found it (``curves``).

A large circuit gets less of 4 and 5 (``budget``); what was left out stands in ``left_out``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sparsecircuits.circuit import Circuit, stream_links
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.tasks import Task, TokenPairs
from sparsecircuits.validate import Necessity
from sparsecircuits.viz.attention import attention_patterns
from sparsecircuits.viz.budget import Budget
from sparsecircuits.viz.curves import pruning_curve
from sparsecircuits.viz.facts import (
    ablated_groups,
    degrees,
    effects_are_measured,
    estimated_effects,
    group_effects,
    logits_out,
    node_effects,
    positions_in,
    prompt_samples,
    prompt_tokens,
    tokens_in,
    vocabulary_in,
)
from sparsecircuits.viz.layout import QKV
from sparsecircuits.viz.measured import metrics, setting
from sparsecircuits.viz.numbers import brief
from sparsecircuits.viz.samples import TextRecord
from sparsecircuits.viz.watch import Tally

#: Held-out pairs that effects, and figures that pruning did not store, are measured on.
EFFECT_PAIRS = 128
#: Significant digits of weights, means and effects.
DIGITS = 5
_MAX_TOKENS = 64


@torch.no_grad()
def circuit_entry(
    model: SparseGPT,
    tokenizer: Tokenizer,
    circuit: Circuit,
    task: Task,
    *,
    model_name: str,
    id: str | None = None,
    samples: int | None = None,
    effect_pairs: int | None = None,
    necessity: Necessity | None = None,
    text: TextRecord | None = None,
    budget: Budget | None = None,
    tally: Tally | None = None,
) -> dict[str, Any]:
    """Everything that the page shows of one circuit, but its report card and sweep.

    Args:
        model: the model that the circuit was cut out of.
        tokenizer: the model's.
        circuit: what is shown.
        task: what it does.
        model_name: the model's key in the document.
        id: the circuit's key, used in links; None: ``MODEL/TASK``.
        samples: held-out pairs that are shown with their activations; None: as many as the budget allows.
        effect_pairs: held-out pairs that effects are measured on, one forward over all of them for each
            node; None: 128, or fewer in a circuit of more than 32 nodes; 0: effects are left out.
        necessity: None: what ``circuit.info["necessity"]`` holds, if anything.
        text: where on pretraining text its nodes are active; None: this is left out.
        budget: how much is shown; None: what suits this circuit alone on a page.
        tally: told of the work, :func:`units` times.

    Raises:
        TaskError: the task does not fit the tokenizer.
        CheckpointError: the circuit does not fit the model.
    """
    budget = budget or Budget.of(len(circuit))
    samples = budget.pairs if samples is None else samples
    effect_pairs = pairs_for_effects(circuit) if effect_pairs is None else effect_pairs
    pairs = task.pairs(
        tokenizer,
        "heldout",
        max(samples, EFFECT_PAIRS, effect_pairs),
        seed=setting(circuit, "seed", 0),
        max_tokens=min(setting(circuit, "max_tokens", _MAX_TOKENS), model.config.n_ctx),
    )
    nodes = sorted(circuit.nodes)
    effects: dict[Node, float] = {}
    groups: list[dict[str, Any]] = []
    measured = effects_are_measured(circuit)
    if effect_pairs:
        some = pairs.rows(slice(0, effect_pairs))
        if measured:
            effects = node_effects(model, circuit, some, tally)
        else:
            effects = estimated_effects(model, circuit, some)
        groups = group_effects(model, circuit, some, tally)
    attended = pairs.rows(slice(0, min(samples, budget.attention_pairs)))
    entry = {
        "id": id or f"{model_name}/{task.name}",
        "model": model_name,
        "task": task.name,
        "about": task.about,
        "form": task.form,
        "metrics": metrics(model, circuit, pairs, necessity),
        "nodes": _nodes(model, tokenizer, circuit, pairs, effects, budget),
        "edges": [
            {"source": str(edge.source), "target": str(edge.target), "weight": brief(edge.weight, DIGITS)}
            for edge in circuit.edges(model)
        ],
        "stream": [
            {"source": str(link.source), "target": str(link.target), "channel": link.source.index}
            for link in stream_links(nodes)
        ],
        "samples": prompt_samples(model, tokenizer, circuit, pairs.rows(slice(0, samples))),
        "effects": {"estimated": not measured, "pairs": effect_pairs},
        "ablations": groups,
        "attention": attention_patterns(model, circuit, attended, heads=budget.heads, effects=effects),
        "left_out": budget.left_out(),
        "sha256": circuit_hash(circuit),
    }
    if circuit.labels:
        entry["labels"] = circuit.labels.to_dict()
    if text is not None:
        found = text.of(nodes, tokenizer)
        entry["text"] = found.text
        for told, node in zip(entry["nodes"], nodes, strict=True):
            told["text"] = found.nodes[node]
    curve = pruning_curve(circuit)
    return {**entry, "pruning": curve} if curve else entry


def pairs_for_effects(circuit: Circuit) -> int:
    """How many held-out pairs effects are measured on, if nobody says: fewer where there are many nodes."""
    if not effects_are_measured(circuit):
        return EFFECT_PAIRS
    return max(16, min(EFFECT_PAIRS, 32 * EFFECT_PAIRS // max(1, len(circuit))))


def units(circuit: Circuit, effect_pairs: int | None = None) -> int:
    """How many units of work :func:`circuit_entry` tells its tally of."""
    if effect_pairs == 0:
        return 0
    return len(ablated_groups(circuit)) + (len(circuit) if effects_are_measured(circuit) else 0)


def _nodes(
    model: SparseGPT,
    tokenizer: Tokenizer,
    circuit: Circuit,
    pairs: TokenPairs,
    effects: Mapping[Node, float],
    budget: Budget,
) -> list[dict[str, Any]]:
    nodes = sorted(circuit.nodes)
    joined, among = degrees(model, nodes), prompt_tokens(pairs)
    told = []
    for node in nodes:
        facts = {
            "name": str(node),
            "layer": node.layer,
            "site": node.site,
            "index": node.index,
            "head": node.index // model.config.d_head if node.site in QKV else None,
            "mean": brief(float(circuit.frozen[str(node.at)][node.index]), DIGITS),
            "effect": brief(effects[node], DIGITS) if node in effects else None,
            "edges_total": sum(joined[node]),
            "edges_in": joined[node].into,
            "edges_out": joined[node].out,
            "tokens_in": tokens_in(model, tokenizer, node, among),
            "logits_out": logits_out(model, tokenizer, node, pairs),
        }
        if node in circuit.gain:
            facts["gain"] = circuit.gain[node]
        vocabulary = vocabulary_in(model, tokenizer, node, budget.tokens)
        if vocabulary:
            facts["vocabulary_in"] = vocabulary
        positions = positions_in(model, node)
        if positions:
            facts["positions_in"] = positions
        told.append(facts)
    return told
