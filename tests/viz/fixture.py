"""Documents for the tests of the page: a quote circuit as it is found, a big random one, a hostile one.

>>> len(quote_circuit()["nodes"]), len(quote_circuit()["edges"])
(13, 9)
"""

from __future__ import annotations

import math
import random
from typing import Any

from sparsecircuits.model import SITES

EOT = "<|endoftext|>"


def node(name: str, head: int | None = None, **more: Any) -> dict[str, Any]:
    """One node of the document, dull unless ``more`` says otherwise."""
    layer, rest = name.split(".", 1)
    site, index = rest.rsplit(".", 1)
    facts = {"mean": 0.0, "effect": 0.0, "edges_total": 6, "tokens_in": [], "logits_out": [], **more}
    return {"name": name, "layer": int(layer), "site": site, "index": int(index), "head": head, **facts}


def link(source: str, target: str, weight: float) -> dict[str, Any]:
    """One edge of the document."""
    return {"source": source, "target": target, "weight": weight}


def _metrics(**more: Any) -> dict[str, Any]:
    necessity = {
        "accuracy": 0.52,
        "refitted_accuracy": 0.55,
        "loss": 0.81,
        "refitted_loss": 0.66,
        "random_loss": 0.047,
        "full_loss": 0.041,
    }
    return {
        "loss": 0.092,
        "raw_loss": 0.121,
        "accuracy": 0.973,
        "full_loss": 0.041,
        "target": 0.15,
        "met": True,
        "scale": 1.31,
        "nodes": 13,
        "edges": 9,
        "heldout_pairs": 512,
        "necessity": necessity,
        **more,
    }


def quote_circuit() -> dict[str, Any]:
    """Closing a string: one neuron finds the quote, one tells its kind, a head carries it to the end."""
    double, single, close_double, close_single = '("', "('", '")\n', "')\n"
    nodes = [
        node(
            "0.mlp.act_in.41",
            mean=0.02,
            effect=0.61,
            edges_total=9,
            tokens_in=[[double, 0.92], [single, 0.88]],
        ),
        node(
            "0.mlp.act_in.90",
            mean=-0.01,
            effect=0.58,
            edges_total=7,
            tokens_in=[[double, 0.71], [single, -0.83], ["='", -0.42]],
        ),
        node("0.mlp.post_act.863", mean=0.11, effect=0.55, edges_total=8),
        node("0.mlp.post_act.201", mean=0.04, effect=0.57, edges_total=8),
        node("0.mlp.resid_delta.17", mean=0.03, effect=0.49, edges_total=11),
        node("0.mlp.resid_delta.55", mean=0.0, effect=0.56, edges_total=6),
        node(
            "1.attn.act_in.3",
            mean=0.6,
            effect=0.12,
            edges_total=12,
            tokens_in=[[" name", 0.38], [" value", 0.33]],
        ),
        node("1.attn.act_in.17", mean=0.05, effect=0.47, edges_total=14),
        node("1.attn.act_in.55", mean=0.01, effect=0.56, edges_total=9),
        node("1.attn.q.15", 0, mean=0.9, effect=0.14, edges_total=4),
        node("1.attn.k.15", 0, mean=0.2, effect=0.44, edges_total=4),
        node("1.attn.v.11", 0, mean=0.0, effect=0.59, edges_total=5),
        node(
            "1.attn.resid_delta.77",
            mean=0.02,
            effect=0.6,
            edges_total=6,
            logits_out=[[close_double, 1.92], [close_single, -1.78], ['",', 0.4]],
        ),
    ]
    edges = [
        link("0.mlp.act_in.41", "0.mlp.post_act.863", 1.31),
        link("0.mlp.act_in.90", "0.mlp.post_act.863", -0.22),
        link("0.mlp.act_in.90", "0.mlp.post_act.201", 1.52),
        link("0.mlp.post_act.863", "0.mlp.resid_delta.17", 0.97),
        link("0.mlp.post_act.201", "0.mlp.resid_delta.55", -1.18),
        link("1.attn.act_in.3", "1.attn.q.15", 0.83),
        link("1.attn.act_in.17", "1.attn.k.15", 1.44),
        link("1.attn.act_in.55", "1.attn.v.11", -0.91),
        link("1.attn.v.11", "1.attn.resid_delta.77", 1.07),
    ]
    stream = [
        {"source": "0.mlp.resid_delta.17", "target": "1.attn.act_in.17", "channel": 17},
        {"source": "0.mlp.resid_delta.55", "target": "1.attn.act_in.55", "channel": 55},
    ]
    samples = []
    for pair, (name, word) in enumerate([("title", "river"), ("label", "copper"), ("message", "north")]):
        for side, opening, answer, other in (
            ("left", double, close_double, close_single),
            ("right", single, close_single, close_double),
        ):
            body = [
                EOT,
                "import",
                " os",
                "\n",
                "total",
                " =",
                " len",
                "(",
                "items",
                ")\n",
                name,
                " =",
                " str",
            ]
            tokens = [*body, opening, word, " ", "stone"]
            at, sign = len(body), 1.0 if side == "left" else -1.0
            samples.append(_sample(pair, side, tokens, [at], answer, other, nodes, at, sign))
    for one in nodes:
        one["edges_in"], one["edges_out"] = 2, one["edges_total"] - 2
        one["text"] = _node_text(one)
    nodes[0]["vocabulary_in"] = [[double, 0.92], [single, 0.88], [" 'a", -0.5]]
    nodes[0]["positions_in"] = [[0, 0.5], [1, -0.25], [2, 0]]
    return {
        "id": "sparse/single_double_quote",
        "model": "sparse",
        "task": "single_double_quote",
        "about": "close a string with the kind of quote that opened it",
        "form": "contrast",
        "metrics": _metrics(),
        "nodes": nodes,
        "edges": edges,
        "stream": stream,
        "samples": samples,
        "effects": {"estimated": False, "pairs": 128},
        "ablations": [
            {"name": "0", "nodes": 6, "effect": 0.7},
            {"name": "0.mlp.act_in", "nodes": 2, "effect": 0.65},
            {"name": "1.attn.v", "nodes": 1, "effect": -0.02},
        ],
        "attention": [
            _head(0, ["1.attn.q.15", "1.attn.k.15", "1.attn.v.11"], samples[:4]),
            _head(3, [], samples[:2]),
        ],
        "text": {
            "measured": 32768,
            "vocabulary": ["x", double, "\n", " ="],
            "windows": [[0, 3, 1, 0, 2], [1, 0]],
        },
        "pruning": {"step": [1, 2, 3], "loss": [0.04, 0.2, 0.1], "nodes": [2816, 300, 21]},
        "sweep": [
            {"target": 0.1, "nodes": 20, "edges": 31, "loss": 0.09, "met": True},
            {"target": 0.3, "nodes": 9, "edges": 7, "loss": 0.35, "met": False},
        ],
        "left_out": ["prompts: 3 pairs instead of 6"],
    }


def _node_text(node: dict[str, Any]) -> dict[str, Any]:
    """One snippet in the top of one band, one in its bottom, one at random: of ``x = (" x`` and ``(" x``."""
    return {
        "bands": [{"share": 0.001, "top": [[0, 1, 2, [0, 2.5, 0.1]]], "bottom": [[1, 0, 1, [1.2, -0.75]]]}],
        "random": [[0, 0, 0, [0, 0, 2.5, 0.1, 0]]],
        "nonzero": 0.25,
        "mean": node["mean"],
        "histogram": {"low": -0.75, "high": 2.5, "counts": [3, 0, 5]},
    }


def _head(head: int, nodes: list[str], samples: list[dict[str, Any]]) -> dict[str, Any]:
    """A head of layer 1 that gives half to the sink; in the circuit the rest to the newest key."""

    def rows(length: int, newest: bool) -> list[list[int]]:
        return [
            [
                500,
                *([0] * query if newest else [0] * (query - 1)),
                *([500] if newest or not query else [500, 0]),
            ]
            for query in range(length)
        ]

    patterns = [
        {
            "pair": sample["pair"],
            "side": sample["side"],
            "circuit": rows(len(sample["tokens"]), True),
            "model": rows(len(sample["tokens"]), False),
        }
        for sample in samples
    ]
    return {"layer": 1, "head": head, "sink": True, "nodes": nodes, "patterns": patterns}


def _sample(pair, side, tokens, differs, answer, other, nodes, at, sign) -> dict[str, Any]:
    rng = random.Random(f"{pair} {side}")
    activations = {}
    for node in nodes:
        signed = node["index"] in (90, 201, 55, 11, 77)
        values = [0.0 if rng.random() < 0.6 else round(node["mean"] + rng.gauss(0, 0.08), 3) for _ in tokens]
        start = at if node["layer"] == 0 or node["site"] == "attn.act_in" else at + 1
        values[start:] = (
            [
                round((sign if signed else 1.0) * (1.2 - 0.1 * i) + rng.gauss(0, 0.05), 3)
                for i in range(len(tokens) - start)
            ]
            if node["site"].startswith("attn.resid")
            else values[start:]
        )
        if not node["site"].startswith("attn.resid"):
            values[at] = round((sign if signed else 1.0) * 1.4 + rng.gauss(0, 0.1), 3)
        activations[node["name"]] = values
    return {
        "pair": pair,
        "side": side,
        "tokens": tokens,
        "differs": differs,
        "answer": answer,
        "other": other,
        "probability": 0.93 + 0.01 * pair,
        "full_probability": 0.985,
        "activations": activations,
    }


def random_circuit(model: str, task: str, n_nodes: int, n_edges: int, seed: int = 0) -> dict[str, Any]:
    """A two-layer circuit with about so many nodes and edges, every edge between sites that may join."""
    rng = random.Random(seed)
    pairs = [
        ("attn.act_in", "attn.q"),
        ("attn.act_in", "attn.k"),
        ("attn.act_in", "attn.v"),
        ("attn.v", "attn.resid_delta"),
        ("mlp.act_in", "mlp.post_act"),
        ("mlp.post_act", "mlp.resid_delta"),
    ]
    vocabulary = ['("', "('", " in", ":\n", "for", " while", "x", " =", "]", "]]\n", " [", "return"]

    def tokens(count: int) -> list[list[Any]]:
        return [[t, round(rng.gauss(0, 0.6), 3)] for t in rng.sample(vocabulary, count)]

    names: dict[str, dict[str, Any]] = {}
    while len(names) < n_nodes:
        layer, site = rng.randrange(2), rng.choice(SITES)
        index = rng.randrange(512 if site == "mlp.post_act" else 128)
        name = f"{layer}.{site}.{index}"
        head = index // 16 if site in ("attn.q", "attn.k", "attn.v") else None
        names[name] = node(
            name,
            head,
            mean=round(rng.gauss(0, 0.3), 3),
            effect=round(math.exp(rng.gauss(-4, 2)), 4),
            edges_total=400,
            tokens_in=tokens(4) if site.endswith("act_in") else [],
            logits_out=tokens(4) if site.endswith("resid_delta") else [],
        )
    nodes = list(names.values())
    possible = [
        (a["name"], b["name"])
        for a in nodes
        for b in nodes
        if a["layer"] == b["layer"] and (a["site"], b["site"]) in pairs
    ]
    chosen = rng.sample(possible, min(n_edges, len(possible)))
    edges = [link(s, t, round(rng.gauss(0, 0.4), 3)) for s, t in chosen]
    stream = [
        {"source": a["name"], "target": b["name"], "channel": a["index"]}
        for a in nodes
        for b in nodes
        if a["site"].endswith("resid_delta")
        and b["site"].endswith("act_in")
        and a["index"] == b["index"]
        and (a["layer"] < b["layer"] or (a["layer"] == b["layer"] and a["site"] < b["site"]))
    ]
    samples = []
    for side in ("left", "right"):
        text = [EOT, "for", " i", " in", " range", "(", "1", "0", "):\n", "    ", "print", "(", "i"]
        acts = {n["name"]: [round(rng.gauss(n["mean"], 0.5), 3) for _ in text] for n in nodes}
        samples.append(
            {
                "pair": 0,
                "side": side,
                "tokens": text,
                "differs": [1],
                "answer": " in",
                "other": ":\n",
                "probability": 0.9,
                "full_probability": 0.97,
                "activations": acts,
            }
        )
    return {
        "id": f"{model}/{task}",
        "model": model,
        "task": task,
        "about": "one of two continuations",
        "form": "contrast",
        "metrics": _metrics(nodes=len(nodes), edges=len(edges), necessity=None, met=False, loss=0.21),
        "nodes": nodes,
        "edges": edges,
        "stream": stream,
        "samples": samples,
    }


def _model(label: str, density: float, nonzero: int, val_loss: float) -> dict[str, Any]:
    return {
        "label": label,
        "n_layer": 2,
        "d_model": 128,
        "d_mlp": 512,
        "n_head": 8,
        "d_head": 16,
        "density": density,
        "val_loss": val_loss,
        "tokens": 1_075_200,
        "nonzero": nonzero,
        "parameters": 657_664,
    }


def report_card() -> dict[str, Any]:
    """A card of two tests, one failed, as ``viz.collect`` puts it on the page."""
    words = {
        "asks": "Does it?",
        "figure": "loss, nats",
        "passes": "at most 0.17",
        "rules_out": "a circuit that lacks a part",
        "control_is": "the empty circuit",
        "note": "",
    }
    tests = [
        {"test": "T1", "name": "sufficiency", **words, "word": "pass", "estimate": 0.0921},
        {"test": "T4", "name": "stochastic ablation", **words, "word": "FAIL", "estimate": 1234.5},
    ]
    return {
        "level": "quick",
        "verdicts": [
            {"name": "Sufficient", "state": "yes", "meaning": "does the task", "failed": [], "missing": []},
            {"name": "Robust", "state": "no", "meaning": "", "failed": ["T4"], "missing": ["T13"]},
        ],
        "tests": [{**test, "interval": [0.08, 0.1], "control": 0.7} for test in tests],
    }


def demo_document() -> dict[str, Any]:
    """What the demo would write: two models, a summary, four circuits."""
    circuits = [
        quote_circuit(),
        random_circuit("dense", "single_double_quote", 75, 669, seed=1),
        random_circuit("sparse", "for_while", 22, 14, seed=2),
        random_circuit("dense", "for_while", 110, 1500, seed=3),
    ]
    necessary = {"accuracy": 0.52, "refitted_accuracy": 0.55, "loss": 0.81, "random_loss": 0.047}
    redundant = {"accuracy": 0.88, "refitted_accuracy": 0.93, "loss": 0.2, "random_loss": 0.03}
    sizes = [
        ("single_double_quote", 0.041, 0.996, True, (13, 9), (75, 669), necessary),
        ("for_while", 0.022, 1.0, True, (22, 14), (110, 1500), redundant),
        ("bracket_counting", 0.061, 1.0, True, (17, 15), (81, 674), necessary),
        ("lambda_func", 0.002, 1.0, True, (8, 7), (24, 100), redundant),
        ("if_equals", 0.025, 1.0, True, (9, 6), None, None),
        ("var_swap", 0.694, 0.5, False, None, None, None),
    ]

    def size(found: tuple[int, int] | None) -> dict[str, Any] | None:
        return found and {"nodes": found[0], "edges": found[1], "loss": 0.12, "raw_loss": 0.15}

    tasks = [
        {
            "name": name,
            "loss": loss,
            "accuracy": accuracy,
            "done": done,
            "circuit": {"sparse": size(sparse), "dense": size(dense)},
            "necessity": need,
        }
        for name, loss, accuracy, done, sparse, dense, need in sizes
    ]
    return {
        "format": "sparsecircuits.page",
        "version": 2,
        "title": "Circuits of a weight-sparse transformer",
        "models": {
            "sparse": {
                **_model("sparse", 0.0312, 23_402, 2.213),
                "training": {
                    "loss": [[1024, 6.9], [500_000, 3.1], [1_075_200, 2.25]],
                    "val_loss": [[500_000, 3.0], [1_075_200, 2.213]],
                    "density": [[1024, 1.0], [500_000, 0.1], [1_075_200, 0.0312]],
                },
            },
            "dense": _model("dense twin", 1.0, 657_664, 2.129),
        },
        "summary": {
            "seconds": {"total": 551.0, "data": 22.0, "train": 212.0, "prune": 290.0},
            "val_loss": {"sparse": 2.213, "dense": 2.129},
            "density": 0.0312,
            "tokens": 1_075_200,
            "seed": 0,
            "tasks": tasks,
            "geomean_edges": {"sparse": 10.7, "dense": 564.0, "ratio": 52.6},
            "geomean_nodes": {"sparse": 14.1, "dense": 63.0, "ratio": 4.5},
        },
        "circuits": circuits,
    }


HOSTILE = (
    "<script>window.broken=1</script>",
    "</script><script>window.broken=1</script>",
    '"><img src=x onerror="window.broken=1">',
    "<!--<script>",
    "javascript:window.broken=1",
    "{{script}}${window.broken=1}",
    "a\u2028b\u2029c",
    "\u202egnp.exe",
    "\ud800",
    "&lt;b&gt;",
)


def hostile_document() -> dict[str, Any]:
    """The demo's document with hostile text in every place that holds text."""
    document = demo_document()
    circuit = quote_circuit()
    for node in circuit["nodes"]:
        node["tokens_in"] = [[text, 0.5] for text in HOSTILE] if node["tokens_in"] else []
        node["logits_out"] = [[text, -0.5] for text in HOSTILE] if node["logits_out"] else []
        if "vocabulary_in" in node:
            node["vocabulary_in"] = [[text, 0.5] for text in HOSTILE]
    circuit["samples"] = circuit["samples"][:2]
    for sample in circuit["samples"]:
        sample["tokens"] = [*HOSTILE, *["x"] * (len(sample["tokens"]) - len(HOSTILE))]
        sample["answer"], sample["other"] = HOSTILE[0], HOSTILE[1]
    circuit["text"]["vocabulary"] = list(HOSTILE)
    circuit["attention"] = circuit["attention"][1:]
    circuit["left_out"] = [HOSTILE[0]]
    circuit["about"] = HOSTILE[2]
    circuit["card"] = report_card()
    for test in circuit["card"]["tests"]:
        test["name"], test["asks"], test["note"], test["passes"] = (
            HOSTILE[0],
            HOSTILE[1],
            HOSTILE[2],
            HOSTILE[0],
        )
    for verdict in circuit["card"]["verdicts"]:
        verdict["name"], verdict["meaning"] = HOSTILE[0], HOSTILE[1]
    document["title"] = HOSTILE[1]
    document["models"]["sparse"]["label"] = HOSTILE[0]
    document["circuits"] = [circuit]
    document["summary"]["tasks"][0]["name"] = HOSTILE[2]
    return document
