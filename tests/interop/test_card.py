"""The card's numbers are those of the bundled run's own files."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from sparsecircuits import load_run
from sparsecircuits.circuit.files import CIRCUIT_FILE
from sparsecircuits.cli.data import Options, read_mix
from sparsecircuits.cli.options import read_options
from sparsecircuits.data import DataConfig
from sparsecircuits.data.manifest import Amount, Manifest, SourceRecord
from sparsecircuits.errors import CheckpointError
from sparsecircuits.interop.card import CardFacts, _source, escaped, model_card
from sparsecircuits.interop.facts import CircuitFacts, circuits_of, kind_of, weights_of
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.tasks import get_task
from sparsecircuits.tasks.evaluate import evaluate_task
from sparsecircuits.train import Run
from sparsecircuits.train.projection import measured_density
from sparsecircuits.train.vitals import nonzeros


@pytest.fixture(scope="module")
def facts(example: Run) -> CardFacts:
    return CardFacts.of_run(example, example.model(), name="org/na_me", license="apache-2.0")


@pytest.fixture(scope="module")
def card(facts: CardFacts) -> str:
    return model_card(facts)


def rows(card: str, heading: str) -> dict[str, list[str]]:
    """The first table below a heading: first cell to the others."""
    lines = card.split(f"## {heading}\n", 1)[1].split("\n\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line[:1] == "|"]
    return {row[0]: row[1:] for row in cells[2:]}


def test_the_head_is_what_the_hub_reads(card: str) -> None:
    assert yaml.safe_load(card.split("---\n")[1]) == {
        "license": "apache-2.0",
        "library_name": "sparsecircuits",
        "pipeline_tag": "text-generation",
        "tags": ["sparsecircuits", "mechanistic-interpretability", "weight-sparse-transformer"],
    }
    assert card.split("---\n")[2].startswith("\n# org/na\\_me\n")


def test_weights_are_counted(card: str, example: Run) -> None:
    """3 layers of width 128: 3 * 4 * 128 * 128 attention entries, a 32nd of each matrix kept, by hand."""
    table = rows(card, "Its weights")
    assert table["attention matrices"] == ["196,608", "6,144", "0.0312"]
    assert table["MLP matrices"] == ["393,216", "12,288", "0.0312"]
    assert table["embedding"] == table["unembedding"] == ["131,072", "2,730", "0.0208"]
    assert table["bigram table (dense)"] == ["1,048,576", "1,048,576", "1.0000"]
    # 196,608 + 393,216 + 2 * 131,072 + 128 * 128 entries; 6,144 + 12,288 + 2 * 2,730 + 341 are not zero.
    assert table["L0: all of these"] == ["868,352", "24,233", "0.0279"]
    assert list(table).index("L0: all of these") == 5
    assert table["all parameters"][0] == f"{sum(p.numel() for p in example.model().parameters()):,}"
    assert measured_density(example.model()).matrices == (6144 + 12288) / (196608 + 393216)


def test_the_first_lines_count_as_training_does(card: str, example: Run) -> None:
    assert nonzeros(example.model()) == 24_233
    assert "3 layers whose matrices have 868,352 weights, of which 24,233 are not zero (L0: 2.79%)" in card
    rest = sum(p.numel() for p in example.model().parameters()) - 868_352
    assert f", and {rest:,} other parameters beside them, after Gao" in card
    assert "validation loss is 1.6897 nats a token" in card  # as the bundled README has it
    assert "It comes with 3 circuits" in card


def test_the_recipe_names_what_differs_from_the_defaults(card: str) -> None:
    table = rows(card, "How it was trained")
    assert table["`steps`"] == ["`15600`", "`1000`"]
    assert table["`eps`"][0] == "`0.1`"
    assert table["`eps`"][1] == ""
    assert "Trained on 15,974,400 tokens in 20.6 minutes; validation loss 1.6897 nats a token." in card


def test_circuits_with_their_verdicts(card: str) -> None:
    """Figures as in the bundled README; the verdicts as in card.json."""
    table = rows(card, "Circuits")
    verdicts = "Sufficient: yes, Robust: no, Controlled: yes, Faithful: no, Verified: open"
    assert table["`set_or_string`"] == ["26", "16", "0.0040", "100.0%", verdicts]
    assert table["`single_double_quote`"][:4] == ["17", "14", "0.0832", "96.7%"]
    assert list(table) == ["`bracket_counting`", "`set_or_string`", "`single_double_quote`"]


def test_a_report_card_of_another_circuit_says_nothing(example: Run, tmp_path: Path) -> None:
    run = load_run(shutil.copytree(example.folder, tmp_path / "run"))
    path = run.circuits / "set_or_string" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"circuit_sha256": "0" * 64}))
    found = {row.name: row.verdicts for row in circuits_of(run)}
    assert found["set_or_string"] is None
    assert found["bracket_counting"] is not None
    (run.circuits / "set_or_string" / CIRCUIT_FILE).write_text("{}")
    with pytest.raises(CheckpointError, match=r"set_or_string.*damaged"):
        circuits_of(run)


def test_stored_scores(example: Run, tmp_path: Path) -> None:
    run = load_run(shutil.copytree(example.folder, tmp_path / "run"))
    model = run.model()
    score = evaluate_task(
        model, get_task("for_while"), run.tokenizer(), pairs=16, train_pairs=16, splits=("heldout",)
    )
    (run.folder / "tasks.json").write_text(json.dumps([score.to_dict()]))
    card = model_card(CardFacts.of_run(run, model, name="org/name"))
    assert rows(card, "Tasks") == {"`for_while`": [f"{score.loss:.4f}", f"{score.accuracy:.1%}"]}
    (run.folder / "tasks.json").write_text("[{}]")
    with pytest.raises(CheckpointError, match=r"tasks\.json: damaged: "):
        CardFacts.of_run(run, model, name="org/name")


def test_what_a_manifest_says(facts: CardFacts) -> None:
    """Sources that are folders here go by their last part alone."""
    manifest = Manifest(
        format=1,
        config=DataConfig(
            mix={"idioms": 0.75, "/home/me/secret|dir": 1 / 3}, train_tokens=1000, val_tokens=10, dedup=False
        ),
        vocab_size=1024,
        tokenizer_hash="0",
        dtype="uint16",
        tokens={"train": 990, "val": 10},
        fingerprint="0",
        sources={
            "idioms": SourceRecord(train=Amount(documents=7, chars=2100, tokens=700), val=Amount(tokens=10)),
            "/home/me/secret|dir": SourceRecord(train=Amount(documents=1, chars=800, tokens=290)),
        },
        files={},
    )
    card = model_card(dataclasses.replace(facts, manifest=manifest))
    assert rows(card, "Its corpus") == {
        "`idioms`": ["7", "2,100", "700", "10"],
        "`secret\\|dir`": ["1", "800", "290", "0"],
    }
    assert "990 tokens to train on and 10 to validate on" in card
    assert "/home/me" not in card
    command = next(line for line in card.splitlines() if line.startswith("sparsecircuits data "))
    options = read_options(Options, "data", shlex.split(command)[2:])
    assert (options.train_tokens, options.val_tokens, options.seed) == (1000, 10, 0)
    assert (options.keep_duplicates, options.tokenizer) == (True, "mine/tokenizer.json")
    assert read_mix(options.source) == {"idioms": 0.75, "secret|dir": 1 / 3}


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("idioms", "idioms"),
        ("site-packages", "site-packages"),
        ("/home/me/secret/texts", "texts"),
        ("../secret/rows.jsonl?column=body", "rows.jsonl?column=body"),
        ("secret/**/*.md", "*.md"),
        ("hf:org/name:config?split=train", "hf:org/name:config?split=train"),
        ("hf:/home/me/set", "hf:set"),
    ],
)
def test_sources_are_called_without_their_folders(source: str, shown: str) -> None:
    assert _source(source) == shown


def test_a_model_alone_has_no_recipe_and_no_circuits() -> None:
    config = GPTConfig(vocab_size=300, n_layer=1, d_model=8, d_head=4, n_ctx=16, bigram=False)
    model = SparseGPT(config)
    card = model_card(CardFacts.of_model(model, name="org/name"))
    assert [line for line in card.splitlines() if line[:3] == "## "] == ["## To load it", "## Its weights"]
    assert 'SparseGPT.from_pretrained("org/name")' in card
    assert "license" not in card
    # Attention 4 * 8 * 8, MLP 2 * 8 * 32, embedding and unembedding 300 * 8 each.
    assert "1 layer whose matrices have 5,568 weights, of which 5,568 are not zero (L0: 100.00%)" in card
    embedding = model.transformer.get_parameter("wte.weight")
    assert weights_of(model)[0] == ("embedding", 300 * 8, int(torch.count_nonzero(embedding)), True)


def test_every_parameter_has_a_kind() -> None:
    for positions in ("none", "learned", "concat"):
        model = SparseGPT(GPTConfig(vocab_size=300, n_layer=1, d_model=8, d_head=4, positions=positions))
        assert {kind_of(name) for name, _ in model.named_parameters()} >= {"biases", "norms", "sinks"}
        assert sum(row.nonzero for row in weights_of(model) if row.in_l0) == nonzeros(model)
        assert sum(row.entries for row in weights_of(model)) == sum(p.numel() for p in model.parameters())


def test_names_cannot_leave_their_cell(facts: CardFacts) -> None:
    circuit = CircuitFacts("a|b`c\n| d", 1, None, None, None, None)
    card = model_card(dataclasses.replace(facts, name="org/*x*<b>", circuits=[circuit]))
    assert "| `a\\|b'c \\| d` | 1 |  |  |  | not checked |" in card
    assert "# org/\\*x\\*\\<b\\>\n" in card
    assert escaped("[x](y) #1 _z_") == "\\[x\\]\\(y\\) \\#1 \\_z\\_"
