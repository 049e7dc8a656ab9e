"""From runs, models and circuits to the page's document (``schema.json``).

A document has models (:func:`model_entry`) and circuits (:func:`circuit_entry`), each with its report card if
it has one of this very circuit (:func:`card_entry`). :func:`run_document` puts that of a run together, with
its training curves, its sweeps, and its training text if that is at hand.

>>> models = {"sparse": model_entry(model, label="sparse", val_loss=2.2, tokens=10**6)}    # doctest: +SKIP
>>> entry = circuit_entry(model, tokenizer, circuit, task, model_name="sparse")            # doctest: +SKIP
>>> write_page(page_document("My circuit", models, [entry]), "page.html")                  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsecircuits.circuit import Circuit, model_hash
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.errors import CheckpointError, DataError
from sparsecircuits.memory import memory_advice
from sparsecircuits.model import SparseGPT
from sparsecircuits.tasks import Task
from sparsecircuits.tasks.own import is_of, named_task
from sparsecircuits.train import Run
from sparsecircuits.train.projection import measured_density
from sparsecircuits.validate.card import CARD_FILE, Card
from sparsecircuits.validate.thresholds import THRESHOLDS
from sparsecircuits.viz.bridged import bridge_entry
from sparsecircuits.viz.budget import Budget
from sparsecircuits.viz.curves import sweep_points, training_curves
from sparsecircuits.viz.entry import circuit_entry, units
from sparsecircuits.viz.page import write_page
from sparsecircuits.viz.samples import forwards, record_text
from sparsecircuits.viz.schema import FORMAT, VERSION, load_schema
from sparsecircuits.viz.watch import Tally, Watch

#: Why a page has no activations on pretraining text.
NO_TEXT = "pretraining text: the run came without its corpus"
OTHER_TEXT = "pretraining text: the corpus at hand is not the one that the run was trained on"


__all__ = [
    "card_entry",
    "circuit_entry",
    "circuit_page",
    "model_entry",
    "page_document",
    "run_document",
    "task_of",
    "training_text",
]


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
    watch: Watch | None = None,
) -> None:
    """Write the page of some circuits of one run: :func:`run_document` as a file at ``path``."""
    document = run_document(run, circuits, title, name, effect_pairs, tasks, watch)
    write_page(document, Path(path))


@memory_advice("drawing circuits", "fewer circuits (name some) or fewer prompts (effect_pairs)")
def run_document(
    run: Run,
    circuits: Sequence[Circuit],
    title: str | None = None,
    name: str | None = None,
    effect_pairs: int | None = None,
    tasks: Mapping[str, Task] | None = None,
    watch: Watch | None = None,
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
    tokens, missing = training_text(run)
    budget = Budget.of(sum(map(len, circuits)))
    nodes = {node for circuit in circuits for node in circuit.nodes}
    work = sum(units(circuit, effect_pairs) for circuit in circuits)
    tally = Tally(work + (0 if tokens is None else forwards(len(nodes))), watch)
    text = None if tokens is None else record_text(model, nodes, tokens, budget, tally=tally)
    entries = []
    for circuit, task in zip(circuits, asked, strict=True):
        entry = circuit_entry(
            model,
            tokenizer,
            circuit,
            task,
            model_name=name,
            effect_pairs=effect_pairs,
            text=text,
            budget=budget,
            tally=tally,
        )
        entry["left_out"] += missing
        points = sweep_points(run.folder / "sweeps", circuit)
        card = card_entry(circuit, run.circuits / circuit.task / CARD_FILE)
        bridge = bridge_entry(circuit, run)
        entries.append({**entry, **({"sweep": points} if points else {}), **card, **bridge})
    entry = model_entry(
        model, label=name, val_loss=result["val_loss"], tokens=result["tokens"], metrics=run.metrics()
    )
    return page_document(title or f"Circuits of {name}", {name: entry}, entries)


def training_text(run: Run) -> tuple[np.ndarray | None, list[str]]:
    """The run's training tokens; or None, and why there are none."""
    try:
        corpus = run.corpus()
    except DataError:
        return None, [NO_TEXT]
    fits = corpus.tokenizer.hash == run.tokenizer().hash and len(corpus.train) > run.config.model.n_ctx
    return (corpus.train, []) if fits else (None, [OTHER_TEXT])


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


def model_entry(
    model: SparseGPT,
    *,
    label: str,
    val_loss: float,
    tokens: int,
    metrics: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A model's facts. Parameters are counted without the bigram table, which no circuit goes through.

    Args:
        model: trained.
        label: what the page calls it.
        val_loss: nats per token.
        tokens: how many it was trained on.
        metrics: of its training, line by line (:meth:`~sparsecircuits.train.Run.metrics`), for its curves.
    """
    config, curves = model.config, training_curves(metrics)
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
        **({"training": curves} if curves else {}),
    }
