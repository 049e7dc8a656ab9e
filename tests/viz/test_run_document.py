"""The document of a run: with its text, training and sweeps, or with the reason why they are not there."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from sparsecircuits.circuit import Circuit, model_hash, save_circuit
from sparsecircuits.data.tokenizer import train_tokenizer
from sparsecircuits.errors import CheckpointError
from sparsecircuits.prune import pretraining_means
from sparsecircuits.train import Run
from sparsecircuits.viz import check_document
from sparsecircuits.viz.collect import NO_TEXT, OTHER_TEXT, circuit_page, run_document, training_text
from tests.prune import planted

TASKS = {planted.STRING_CLOSING.name: planted.STRING_CLOSING}
QUOTE = "0.attn.act_in.0"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return planted.planted_run(tmp_path)


@pytest.fixture
def circuit(run: Run) -> Circuit:
    model = run.model()
    means = pretraining_means(model, run.corpus().train, count=512)
    info = {"model_sha256": model_hash(model)}
    return Circuit(planted.STRING_CLOSING.name, planted.ATTENTION_CIRCUIT, means, info=info)


def test_everything_that_a_run_knows_is_in_it(run: Run, circuit: Circuit) -> None:
    for step in (1, 2):
        run.log(json.dumps({"step": step, "tokens": 32 * step, "loss": 6.0 - step, "density": 1.0}))
    figures = {"target": 0.1, "nodes": 3, "edges": 2, "loss": 0.05, "met": True}
    swept = dataclasses.replace(circuit, info={**circuit.info, **figures})
    save_circuit(swept, run.folder / "sweeps" / "any" / "0.1")
    told: list[tuple[int, int, str]] = []
    document = run_document(
        run, [circuit], effect_pairs=4, tasks=TASKS, watch=lambda *report: told.append(report)
    )
    check_document(document)
    assert document["models"]["run"]["training"]["loss"] == [[32, 5], [64, 4]]
    (entry,) = document["circuits"]
    assert entry["sweep"] == [figures]
    assert entry["left_out"] == []
    assert entry["text"]["measured"] == 32_768
    quote = next(node for node in entry["nodes"] if node["name"] == QUOTE)
    # What the first layer reads of a token is its embedding, normalised, whatever is around it.
    model, tokenizer = run.model(), run.tokenizer()
    table = planted.block(model).ln_1(model.get_parameter("transformer.wte.weight"))[:, 0].detach()
    words, windows = entry["text"]["vocabulary"], entry["text"]["windows"]
    for side in ("top", "bottom"):
        for window, start, _, values in quote["text"]["bands"][1][side]:
            tokens = [words[i] for i in windows[window][start : start + len(values)]]
            wanted = [float(table[tokenizer.encode(word)[0]]) for word in tokens if word.isascii()]
            assert [v for v, word in zip(values, tokens, strict=True) if word.isascii()] == pytest.approx(
                wanted, rel=1e-2, abs=1e-4
            )
    # The means were taken on other windows of the same text.
    assert quote["text"]["mean"] == pytest.approx(quote["mean"], abs=0.2)
    # The text of all nodes; three nodes; layer 0 and its three sites.
    assert [report[:2] for report in told] == [(done, 8) for done in range(1, 9)]
    assert told[0][2] == "activations on pretraining text"


def test_without_its_corpus_a_run_has_no_text(run: Run, circuit: Circuit, tmp_path: Path) -> None:
    shutil.rmtree(run.corpus_folder)
    (entry,) = run_document(run, [circuit], effect_pairs=0, tasks=TASKS)["circuits"]
    assert "text" not in entry
    assert entry["left_out"] == [NO_TEXT]
    assert str(tmp_path) not in json.dumps(entry)  # a page that is mailed does not tell where things lie
    circuit_page(run, [circuit], tmp_path / "page.html", effect_pairs=0, tasks=TASKS)
    assert NO_TEXT in (tmp_path / "page.html").read_text()


def test_text_of_another_tokenizer_is_not_taken_for_the_run_s(run: Run) -> None:
    assert training_text(run)[1] == []
    longer = run.config.replace(model=run.config.model.replace(n_ctx=5_000))  # than all of the text
    assert training_text(dataclasses.replace(run, config=longer)) == (None, [OTHER_TEXT])
    train_tokenizer(["abab abab"], 260).save(run.folder / "tokenizer.json")
    assert training_text(run) == (None, [OTHER_TEXT])


def test_a_circuit_of_another_model_is_refused(run: Run, circuit: Circuit) -> None:
    stranger = dataclasses.replace(circuit, info={"model_sha256": "0"})
    with pytest.raises(CheckpointError, match="belongs to another model"):
        run_document(run, [stranger], tasks=TASKS)
