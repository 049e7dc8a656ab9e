"""The model card: what a model on the Hub says of itself, in Markdown below a YAML head.

:meth:`CardFacts.of_run` reads what there is to say; :func:`model_card` writes it down, and reads nothing.
What is not known has no section: a model alone has no recipe, a run that was never pruned no circuits.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import yaml

from sparsecircuits import __version__
from sparsecircuits.data.manifest import Manifest, read_manifest
from sparsecircuits.data.specs import parse_spec
from sparsecircuits.interop.facts import (
    CircuitFacts,
    TaskFacts,
    WeightFacts,
    circuits_of,
    tasks_of,
    weights_of,
)
from sparsecircuits.interop.files import CORPUS
from sparsecircuits.interop.names import HubName
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.run import Run

LIBRARY = "sparsecircuits"
TAGS = (LIBRARY, "mechanistic-interpretability", "weight-sparse-transformer")
PAPER = "Gao et al. 2025, Weight-sparse transformers have interpretable circuits"
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """All that a card says.

    Attributes:
        name: ``org/name``.
        model: the model's shape.
        weights: how many there are and how many are not zero, by kind.
        license: such as ``apache-2.0``; None: the card names none.
        train: the recipe, of a run.
        result: its ``result.json``.
        tasks: what it scored, if that was stored.
        circuits: what pruning found.
        manifest: of the corpus, if it is there.
    """

    name: str
    model: GPTConfig
    weights: Sequence[WeightFacts]
    license: str | None = None
    train: TrainConfig | None = None
    result: Mapping[str, Any] | None = None
    tasks: Sequence[TaskFacts] = ()
    circuits: Sequence[CircuitFacts] = ()
    manifest: Manifest | None = None

    @classmethod
    def of_model(cls, model: SparseGPT, *, name: str, license: str | None = None) -> CardFacts:
        """What a model alone says."""
        return cls(name=name, model=model.config, weights=weights_of(model), license=license)

    @classmethod
    def of_run(cls, run: Run, model: SparseGPT, *, name: str, license: str | None = None) -> CardFacts:
        """What a run says; the corpus' part only where the corpus is there."""
        manifest = run.corpus_folder / MANIFEST
        return cls(
            name=name,
            model=model.config,
            weights=weights_of(model),
            license=license,
            train=run.config.train,
            result=run.result(),
            tasks=tasks_of(run),
            circuits=circuits_of(run),
            manifest=read_manifest(manifest) if manifest.is_file() else None,
        )


def model_card(facts: CardFacts) -> str:
    """The text of ``README.md``."""
    parts = [
        _head(facts),
        f"# {escaped(facts.name)}",
        _about(facts),
        _loading(facts),
        _weights(facts),
        _recipe(facts),
        _corpus(facts),
        _tasks(facts),
        _circuits(facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    r"""A text that Markdown shows as it is, on one line.

    >>> print(escaped("a_b|<i>\n`c`"))
    a\_b\|\<i\> \`c\`
    """
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$&@-])", r"\\\1", " ".join(text.split()))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right, cells as they are."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _head(facts: CardFacts) -> str:
    head: dict[str, Any] = {
        "library_name": LIBRARY,
        "pipeline_tag": "text-generation",
        "tags": list(TAGS),
    }
    if facts.license is not None:
        head = {"license": facts.license, **head}
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---"


def _about(facts: CardFacts) -> str:
    sparse = _sum("L0", [row for row in facts.weights if row.in_l0])
    beside = sum(row.entries for row in facts.weights if not row.in_l0)
    layers = "1 layer" if facts.model.n_layer == 1 else f"{facts.model.n_layer} layers"
    words = [
        f"A transformer of {layers} whose matrices have {sparse.entries:,} weights, of which "
        f"{sparse.nonzero:,} are not zero (L0: {sparse.nonzero / sparse.entries:.2%}), and {beside:,} other "
        f"parameters beside them, after {PAPER}."
    ]
    if facts.result is not None and "val_loss" in facts.result:
        words.append(f"Its validation loss is {facts.result['val_loss']:.4f} nats a token.")
    if facts.circuits:
        found = f"{len(facts.circuits)} circuits" if len(facts.circuits) > 1 else "one circuit"
        words.append(f"It comes with {found} that pruning cut out of it.")
    return " ".join(words)


def _loading(facts: CardFacts) -> str:
    name = facts.name
    if facts.train is None:
        code = f'from sparsecircuits import SparseGPT\n\nmodel = SparseGPT.from_pretrained("{name}")'
        return f"## To load it\n\n```python\n{code}\n```"
    code = [
        "from sparsecircuits import generate, load_circuit, load_run",
        "",
        f'run = load_run("{name}")',
        "model, tokenizer = run.model(), run.tokenizer()",
        'print(generate(run, "for ")[0].text)',
    ]
    shell = [f"sparsecircuits generate {name}", f"sparsecircuits eval {name}"]
    if facts.circuits:
        code.append(f"circuit = load_circuit(run.circuits / {facts.circuits[0].name!r})")
        shell.insert(1, f"sparsecircuits view {name}")
    shell.append(f"sparsecircuits fetch {name} --out mine  # a copy to prune and to label")
    return (
        "## To load it\n\n```python\n" + "\n".join(code) + "\n```\n\n```sh\n" + "\n".join(shell) + "\n```\n\n"
        "Nothing but JSON, YAML and safetensors is loaded; no code comes with it."
    )


def _weights(facts: CardFacts) -> str:
    sparse = [row for row in facts.weights if row.in_l0]
    dense = [row for row in facts.weights if not row.in_l0]
    rows = [*map(_counts, sparse), _counts(_sum("L0: all of these", sparse))]
    rows += [*map(_counts, dense), _counts(_sum("all parameters", facts.weights))]
    shape = [
        [f"`{field.name}`", f"`{getattr(facts.model, field.name)}`"]
        for field in dataclasses.fields(facts.model)
        if field.name in ("vocab_size", "n_ctx", "n_layer", "d_model", "d_head", "topk_fraction", "positions")
    ]
    return (
        "## Its weights\n\nL0 counts the weights that training makes sparse, as `sparsecircuits runs` and "
        "`metrics.jsonl` do.\n\n"
        + table(["kind", "entries", "not zero", "density"], rows)
        + "\n\n"
        + table(["shape", "value"], shape)
    )


def _counts(row: WeightFacts) -> list[str]:
    return [row.kind, f"{row.entries:,}", f"{row.nonzero:,}", f"{row.nonzero / row.entries:.4f}"]


def _sum(name: str, weights: Sequence[WeightFacts]) -> WeightFacts:
    """All of them as one kind."""
    entries, nonzero = sum(row.entries for row in weights), sum(row.nonzero for row in weights)
    return WeightFacts(name, entries, nonzero, all(row.in_l0 for row in weights))


def _recipe(facts: CardFacts) -> str:
    if facts.train is None:
        return ""
    default = TrainConfig()
    rows = []
    for field in dataclasses.fields(facts.train):
        value, usual = getattr(facts.train, field.name), getattr(default, field.name)
        rows.append([f"`{field.name}`", f"`{value}`", "" if value == usual else f"`{usual}`"])
    told = facts.result or {}
    seen = []
    if "tokens" in told:
        seen.append(f"{told['tokens']:,} tokens in {told['seconds'] / 60:.1f} minutes")
    if "val_loss" in told:
        seen.append(f"validation loss {told['val_loss']:.4f} nats a token")
    line = f"\n\nTrained on {'; '.join(seen)}." if seen else ""
    return (
        f"## How it was trained\n\nPushed with sparsecircuits {__version__}; `run.json` holds these settings."
        f"{line}\n\n" + table(["setting", "value", "default, where it differs"], rows)
    )


def _corpus(facts: CardFacts) -> str:
    if facts.train is None:
        return ""
    if facts.manifest is None:
        return (
            "## Its corpus\n\nIt does not come along, and was not at hand when this card was written; "
            f"a corpus of the same tokenizer in the folder `{CORPUS}` of a copy serves to prune further."
        )
    manifest, config = facts.manifest, facts.manifest.config
    rows = [
        [
            f"`{_code(_source(name))}`",
            f"{record.train.documents:,}",
            f"{record.train.chars:,}",
            f"{record.train.tokens:,}",
            f"{record.val.tokens:,}",
        ]
        for name, record in manifest.sources.items()
    ]
    total = manifest.tokens
    words = ["sparsecircuits", "data", "--out", f"mine/{CORPUS}", "--tokenizer", "mine/tokenizer.json"]
    train_tokens = "all" if config.train_tokens is None else str(config.train_tokens)
    words += ["--train-tokens", train_tokens, "--val-tokens", str(config.val_tokens)]
    words += ["--seed", str(config.seed), *([] if config.dedup else ["--keep-duplicates"])]
    for source, weight in config.mix.items():
        words += ["--source", f"{_source(source)}={weight!r}"]
    return (
        f"## Its corpus\n\n{total['train']:,} tokens to train on and {total['val']:,} to validate on, of a "
        f"tokenizer of {manifest.vocab_size:,} entries. It does not come along; "
        "to prune further, build it in a copy:\n\n"
        f"```sh\n{shlex.join(words)}\n```\n\n"
        + table(["source", "documents", "characters", "tokens", "tokens to validate on"], rows)
    )


def _tasks(facts: CardFacts) -> str:
    if not facts.tasks:
        return ""
    rows = [[f"`{_code(row.name)}`", f"{row.loss:.4f}", f"{row.accuracy:.1%}"] for row in facts.tasks]
    return "## Tasks\n\nOn held-out prompts, the losses in nats after one scale on the logits.\n\n" + table(
        ["task", "loss", "accuracy"], rows
    )


def _circuits(facts: CardFacts) -> str:
    if not facts.circuits:
        return ""
    rows = [
        [
            f"`{_code(row.name)}`",
            f"{row.nodes:,}",
            "" if row.edges is None else f"{row.edges:,}",
            "" if row.loss is None else f"{row.loss:.4f}",
            "" if row.accuracy is None else f"{row.accuracy:.1%}",
            row.verdicts or "not checked",
        ]
        for row in facts.circuits
    ]
    return (
        "## Circuits\n\nThe losses are of the circuit alone, on held-out prompts. A verdict says what the "
        "tests of `sparsecircuits check` made of it.\n\n"
        + table(["task", "nodes", "edges", "loss", "accuracy", "report card"], rows)
    )


def _source(text: str) -> str:
    """What a source is called in public: of a path or a pattern, only its last part."""
    spec = parse_spec(text)
    on_hub = spec.kind == "hub" and HubName.read(spec.name.partition(":")[0]) is not None
    if spec.kind == "made" or on_hub:
        return text
    return text.replace(spec.name, PurePath(spec.name).name or spec.name)


def _code(text: str) -> str:
    """A text for a code span within a table: no backtick ends it, no bar ends its cell."""
    return " ".join(text.replace("`", "'").split()).replace("|", "\\|")
