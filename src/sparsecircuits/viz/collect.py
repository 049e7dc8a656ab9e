"""From models and circuits to the page's document (``schema.json``): the model is run in ``facts``.

For each circuit:

1. its figures, as pruning stored them in ``circuit.info``, or measured here where they are missing or
   belong to another number of nodes or edges;
2. each node's facts: frozen value, *effect* (rise of the circuit's scaled task loss on held-out pairs when
   this node alone is removed from it), the prompts' tokens whose embedding writes the channel that it
   reads, the logits that the channel which it writes moves;
3. edges that are not cut, and the residual stream between a write and every later read of its channel;
4. a few held-out pairs with every node's activation, token by token, while the circuit is installed.

>>> models = {"sparse": model_entry(model, label="sparse", val_loss=2.2, tokens=10**6)}    # doctest: +SKIP
>>> entry = circuit_entry(model, tokenizer, circuit, task, model_name="sparse")            # doctest: +SKIP
>>> write_page(page_document("My circuit", models, [entry]), "page.html")                  # doctest: +SKIP
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sparsecircuits.circuit import Circuit, model_hash, stream_links
from sparsecircuits.circuit.edges import node_degrees
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.tasks import Task, TokenPairs
from sparsecircuits.tasks.own import is_of, named_task
from sparsecircuits.tasks.score import Calibration, fit_scale, pair_logits, score
from sparsecircuits.train import Run
from sparsecircuits.train.projection import measured_density
from sparsecircuits.validate import Necessity
from sparsecircuits.validate.card import CARD_FILE, Card
from sparsecircuits.validate.thresholds import THRESHOLDS
from sparsecircuits.viz.facts import logits_out, node_effects, prompt_samples, tokens_in
from sparsecircuits.viz.layout import QKV
from sparsecircuits.viz.page import write_page
from sparsecircuits.viz.schema import FORMAT, VERSION, load_schema

#: Held-out pairs that effects, and figures that pruning did not store, are measured on.
EFFECT_PAIRS = 128
_MAX_TOKENS = 64
_MEASURED = ("loss", "raw_loss", "accuracy", "full_loss", "edges")


def page_document(
    title: str,
    models: Mapping[str, dict[str, Any]],
    circuits: Iterable[dict[str, Any]],
    summary: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole document, ready for :func:`~sparsecircuits.viz.page.write_page`.

    Args:
        title: heading of the page.
        models: name -> :func:`model_entry`; every circuit names one of them.
        circuits: from :func:`circuit_entry`, in the order in which they are listed.
        summary: the demo's ``summary.json``, or None.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": title,
        "models": dict(models),
        "summary": summary,
        "circuits": list(circuits),
    }


def circuit_page(
    run: Run,
    circuits: Sequence[Circuit],
    path: str | Path,
    title: str | None = None,
    name: str | None = None,
    effect_pairs: int | None = None,
    tasks: Mapping[str, Task] | None = None,
) -> None:
    """Write the page of some circuits of one run: :func:`run_document` as a file at ``path``."""
    write_page(run_document(run, circuits, title, name, effect_pairs, tasks), Path(path))


def run_document(
    run: Run,
    circuits: Sequence[Circuit],
    title: str | None = None,
    name: str | None = None,
    effect_pairs: int | None = None,
    tasks: Mapping[str, Task] | None = None,
    watch: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """The document of some circuits of one run.

    Args:
        run: a finished run.
        circuits: which of its circuits.
        title: heading of the page; None: of what run the circuits are.
        name: what the page calls the run; None: the name of its folder.
        effect_pairs: as in :func:`circuit_entry`.
        tasks: as in :func:`task_of`.
        watch: told how far the measuring is.

    Raises:
        CheckpointError: a circuit that was cut out of another model, or for another version of its task.
        TaskError: a circuit for a task that does not exist.
    """
    model, tokenizer, result = run.model(), run.tokenizer(), run.result() or {}
    found = model_hash(model)
    for circuit in circuits:
        if circuit.info.get("model_sha256", found) != found:
            raise CheckpointError(f"{run.folder}: the circuit for {circuit.task} belongs to another model")
    asked = [task_of(circuit, run, tasks) for circuit in circuits]
    name = name or run.name
    entries = [
        {
            **circuit_entry(model, tokenizer, circuit, task, model_name=name, effect_pairs=effect_pairs),
            **card_entry(circuit, run.circuits / circuit.task / CARD_FILE),
        }
        for circuit, task in zip(circuits, asked, strict=True)
    ]
    entry = model_entry(model, label=name, val_loss=result["val_loss"], tokens=result["tokens"])
    if watch is not None:
        watch(len(circuits), len(circuits), "circuits")
    return page_document(title or f"Circuits of {name}", {name: entry}, entries)


def card_entry(circuit: Circuit, path: Path) -> dict[str, Any]:
    """The circuit's report card as the page shows it, under ``card``; nothing where there is none of it."""
    try:
        card = Card.load(path)
    except CheckpointError:
        return {}
    model = circuit.info.get("model_sha256")
    of_another = model is not None and card.about.get("model_sha256", model) != model
    stale = card.circuit_sha256 != circuit_hash(circuit) or card.thresholds_sha256 != THRESHOLDS.sha256
    if of_another or stale:
        return {}
    told, known = card.to_dict(), load_schema()["$defs"]["card_test"]["properties"]
    tests = [{key: test[key] for key in known} for test in told["tests"]]
    return {"card": {"level": card.level, "verdicts": told["verdicts"], "tests": tests}}


def task_of(circuit: Circuit, run: Run, tasks: Mapping[str, Task] | None = None) -> Task:
    """The task that a run's circuit does.

    Args:
        circuit: which names it.
        run: whose folder keeps tasks of a user's own.
        tasks: tasks by name that are taken before those that are built in or kept.

    Raises:
        TaskError: there is no such task, or it is code that is not among ``tasks``.
        CheckpointError: the task is not what it was when the circuit was cut out.
    """
    task = (tasks or {}).get(circuit.task) or named_task(circuit.task, run.folder)
    if not is_of(circuit.info, task):
        file = f" than {task.definition.file}" if task.definition else ""
        raise CheckpointError(
            f"{run.folder}: the circuit for {circuit.task} is of another version of the task{file}; "
            "prune it anew"
        )
    return task


def model_entry(model: SparseGPT, *, label: str, val_loss: float, tokens: int) -> dict[str, Any]:
    """A model's facts. Parameters are counted without the bigram table, which no circuit goes through.

    Args:
        model: trained.
        label: what the page calls it.
        val_loss: nats per token.
        tokens: how many it was trained on.
    """
    config = model.config
    counted = [tensor for name, tensor in model.named_parameters() if name != "bigram_table"]
    return {
        "label": label,
        "n_layer": config.n_layer,
        "d_model": config.d_model,
        "d_mlp": config.mlp_width,
        "n_head": config.heads,
        "d_head": config.d_head,
        "density": measured_density(model).matrices,
        "val_loss": val_loss,
        "tokens": tokens,
        "nonzero": sum(int(torch.count_nonzero(tensor)) for tensor in counted),
        "parameters": sum(tensor.numel() for tensor in counted),
    }


@torch.no_grad()
def circuit_entry(
    model: SparseGPT,
    tokenizer: Tokenizer,
    circuit: Circuit,
    task: Task,
    *,
    model_name: str,
    id: str | None = None,
    samples: int = 6,
    effect_pairs: int | None = None,
    necessity: Necessity | None = None,
) -> dict[str, Any]:
    """Everything that the page shows of one circuit.

    Args:
        model: the model that the circuit was cut out of.
        tokenizer: the model's.
        circuit: what is shown.
        task: what it does.
        model_name: the model's key in the document.
        id: the circuit's key, used in links; None: ``MODEL/TASK``.
        samples: held-out pairs that are shown with their activations.
        effect_pairs: held-out pairs that effects are measured on, one forward over all of them for each
            node; None: 128, or fewer in a circuit of more than 32 nodes; 0: effects are left out.
        necessity: None: what ``circuit.info["necessity"]`` holds, if anything.

    Raises:
        TaskError: the task does not fit the tokenizer.
        CheckpointError: the circuit does not fit the model.
    """
    if effect_pairs is None:
        effect_pairs = max(16, min(EFFECT_PAIRS, 32 * EFFECT_PAIRS // max(1, len(circuit))))
    pairs = task.pairs(
        tokenizer,
        "heldout",
        max(samples, EFFECT_PAIRS, effect_pairs),
        seed=_setting(circuit, "seed", 0),
        max_tokens=min(_setting(circuit, "max_tokens", _MAX_TOKENS), model.config.n_ctx),
    )
    nodes = sorted(circuit.nodes)
    degrees = node_degrees(model, nodes)
    effects: dict[Node, float] = {}
    if effect_pairs:
        effects = node_effects(model, circuit, pairs.rows(slice(0, effect_pairs)))
    return {
        "id": id or f"{model_name}/{task.name}",
        "model": model_name,
        "task": task.name,
        "about": task.about,
        "form": task.form,
        "metrics": _metrics(model, circuit, pairs, necessity),
        "nodes": [
            {
                "name": str(node),
                "layer": node.layer,
                "site": node.site,
                "index": node.index,
                "head": node.index // model.config.d_head if node.site in QKV else None,
                "mean": float(circuit.frozen[str(node.at)][node.index]),
                **({"gain": circuit.gain[node]} if node in circuit.gain else {}),
                "effect": effects.get(node),
                "edges_total": degrees[node],
                "tokens_in": tokens_in(model, tokenizer, node, pairs),
                "logits_out": logits_out(model, tokenizer, node, pairs),
            }
            for node in nodes
        ],
        "edges": [
            {"source": str(edge.source), "target": str(edge.target), "weight": edge.weight}
            for edge in circuit.edges(model)
        ],
        "stream": [
            {"source": str(link.source), "target": str(link.target), "channel": link.source.index}
            for link in stream_links(nodes)
        ],
        "samples": prompt_samples(model, tokenizer, circuit, pairs.rows(slice(0, samples))),
    }


def _metrics(
    model: SparseGPT, circuit: Circuit, pairs: TokenPairs, necessity: Necessity | None
) -> dict[str, Any]:
    info = circuit.info
    size = (len(circuit.nodes), circuit.edge_count(model))
    if (info.get("nodes"), info.get("edges")) == size and all(key in info for key in _MEASURED):
        figures = {key: info[key] for key in _MEASURED}
        count = _setting(circuit, "heldout_pairs", len(pairs))
        needed = dataclasses.asdict(necessity) if necessity else info.get("necessity")
        met = bool(info.get("met", figures["loss"] <= info.get("target", 0.15)))
    else:  # made or edited by hand
        figures, count = _measure(model, circuit, pairs), len(pairs)
        needed = dataclasses.asdict(necessity) if necessity else None
        met = figures["loss"] <= info.get("target", 0.15)
    keys = load_schema()["$defs"]["necessity"]["required"]
    return {
        **figures,
        "target": info.get("target", 0.15),
        "met": met,
        "scale": circuit.scale,
        "nodes": len(circuit.nodes),
        "heldout_pairs": count,
        "necessity": {key: needed[key] for key in keys} if needed else None,
    }


def _measure(model: SparseGPT, circuit: Circuit, pairs: TokenPairs) -> dict[str, float | int]:
    with circuit.installed(model):
        logits = pair_logits(model, pairs)
    scaled, raw = score(logits, pairs, circuit.calibration), score(logits, pairs)
    full = pair_logits(model, pairs)
    with torch.enable_grad():
        scale = circuit.info.get("full_scale") or fit_scale(full, pairs)
    return {
        "loss": scaled.loss,
        "raw_loss": raw.loss,
        "accuracy": scaled.accuracy,
        "full_loss": score(full, pairs, Calibration(scale, 0.0)).loss,
        "edges": circuit.edge_count(model),
    }


def _setting(circuit: Circuit, key: str, default: int) -> int:
    """A setting that the circuit was found with."""
    return circuit.info.get("config", {}).get(key, default)
