"""Activations on text that can be worked out: every window holds each of ten tokens once."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from sparsecircuits.data.tokenizer import train_tokenizer
from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.viz.budget import Budget
from sparsecircuits.viz.samples import TextSamples, band_ends, forwards, record_text
from sparsecircuits.viz.watch import Tally

CONFIG = GPTConfig(
    vocab_size=257, n_ctx=10, n_layer=1, d_model=16, d_head=4, d_mlp=8, topk_fraction=None, bigram=False
)
TEXT = "".join("abcdefghij"[i] for i in range(10)) * 100
NODE, DEAD = Node.parse("0.attn.act_in.0"), Node.parse("0.attn.q.3")
#: Two windows of ten tokens' worth of ranks: the bands end at 1, 2, 20 and 100 of 200 positions.
BUDGET = Budget(text_tokens=200, snippets=2, random=2, before=3, after=2, bins=5)


def value(letter: str) -> float:
    """What NODE is at a letter: 0 at a, 0.4 at b, ... 3.6 at j; the norm makes rows as long as sqrt(16)."""
    return 4 * "abcdefghij".index(letter) / 10


@pytest.fixture(scope="module")
def found() -> TextSamples:
    return samples(BUDGET)


def samples(
    budget: Budget, nodes: tuple[Node, ...] = (NODE, DEAD), seed: int = 0, asked: tuple[Node, ...] = ()
) -> TextSamples:
    tokenizer = train_tokenizer(["ab"], 257)  # one token for each byte
    model = SparseGPT(CONFIG)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ln_" not in name:
                parameter.zero_()
        for i, letter in enumerate("abcdefghij"):
            row = model.get_parameter("transformer.wte.weight")[tokenizer.encode(letter)[0]]
            row[0], row[1] = i / 10, math.sqrt(1 - (i / 10) ** 2)
    tokens = np.array(tokenizer.encode(TEXT))
    return record_text(model.eval(), nodes, tokens, budget, seed=seed).of(asked or nodes, tokenizer)


def letters(found: TextSamples, snippet: list) -> list[str]:
    window, start, _, values = snippet
    words = [found.text["vocabulary"][token] for token in found.text["windows"][window]]
    assert len(words) >= start + len(values)
    return words[start : start + len(values)]


def test_bands_hold_the_tokens_of_their_ranks(found: TextSamples) -> None:
    bands = found.nodes[NODE]["bands"]
    assert [band["share"] for band in bands] == [0.001, 0.01, 0.1, 0.5]

    def drawn(side: str, band: dict) -> set[str]:
        return {letters(found, snippet)[snippet[2] - snippet[1]] for snippet in band[side]}

    # The 20 largest of 200 are j, the next 80 f to i; the 20 smallest are a, the next 80 b to e.
    for band in bands[:3]:
        assert (drawn("top", band), drawn("bottom", band)) == ({"j"}, {"a"})
    assert drawn("top", bands[3]) <= set("fghi")
    assert drawn("bottom", bands[3]) <= set("bcde")
    # One position in each of the first two bands, so one snippet; else as many as were asked for.
    assert [len(band["top"]) for band in bands] == [1, 1, 2, 2]
    assert len(found.nodes[NODE]["random"]) == 2


def test_snippets_hold_the_activation_of_every_token(found: TextSamples) -> None:
    facts = found.nodes[NODE]
    every = [one for band in facts["bands"] for side in ("top", "bottom") for one in band[side]]
    for snippet in every + facts["random"]:
        _, start, at, values = snippet
        words = letters(found, snippet)
        assert values == pytest.approx([value(letter) for letter in words], abs=1e-2)
        assert at - start <= 3
        assert start + len(values) - 1 - at <= 2
    # Windows hold the tokens that snippets reach over, and no more.
    reached = {(one[0], one[1] + i) for facts in found.nodes.values() for one in snippets(facts)
               for i in range(len(one[3]))}  # fmt: skip
    assert max(len(window) for window in found.text["windows"]) <= 10
    assert {place for place, _ in reached} == set(range(len(found.text["windows"])))


def snippets(facts: dict) -> list[list]:
    return [one for band in facts["bands"] for side in ("top", "bottom") for one in band[side]] + facts[
        "random"
    ]


def test_the_distribution_is_counted(found: TextSamples) -> None:
    facts = found.nodes[NODE]
    assert found.text["measured"] == 200
    assert facts["nonzero"] == 0.9  # all but a
    assert facts["mean"] == pytest.approx(1.8)
    # 20 of each in five bins of 0.64: 0.4 0.8 | 1.2 1.6 | 2.0 | 2.4 2.8 | 3.2 3.6
    histogram = facts["histogram"]
    assert (histogram["low"], histogram["high"]) == (0.4, 3.6)
    assert histogram["counts"] == [40, 40, 20, 40, 40]
    assert found.nodes[DEAD] | {"bands": [], "random": []} == {
        "bands": [], "random": [], "nonzero": 0.0, "mean": 0, "histogram": None,
    }  # fmt: skip


def test_ties_are_broken_at_random() -> None:
    """Of a node that is always 0, snippets come from anywhere, at the top as at the bottom."""
    budget = dataclasses.replace(BUDGET, text_tokens=2_000, snippets=8)
    dead = samples(budget, (DEAD,)).nodes[DEAD]["bands"][2]  # ranks 20 to 200 of 2,000
    windows = sorted(snippet[0] for side in ("top", "bottom") for snippet in dead[side])
    assert len(set(windows)) > 8
    assert dead["top"] != dead["bottom"]


def test_a_circuit_gets_its_own_nodes_and_the_text_that_these_need(found: TextSamples) -> None:
    alone = samples(BUDGET, asked=(NODE,))
    assert list(alone.nodes) == [NODE]
    assert len(alone.text["windows"]) <= len(found.text["windows"])
    for mine, theirs in zip(snippets(alone.nodes[NODE]), snippets(found.nodes[NODE]), strict=True):
        assert letters(alone, mine) == letters(found, theirs)
        assert (mine[2] - mine[1], mine[3]) == (theirs[2] - theirs[1], theirs[3])


def test_the_seed_decides(found: TextSamples) -> None:
    assert samples(BUDGET) == found
    assert samples(BUDGET, seed=1) != found


def test_a_budget_without_snippets_leaves_the_figures(found: TextSamples) -> None:
    bare = samples(dataclasses.replace(BUDGET, snippets=0, random=0))
    assert bare.text["windows"] == []
    assert bare.nodes[NODE] == {**found.nodes[NODE], "bands": [], "random": []}


def test_bands_end_where_the_shares_do() -> None:
    assert band_ends(32_768) == [33, 328, 3277, 16384]
    assert band_ends(20) == [1, 2, 3, 10]


def test_the_tally_is_told_of_each_group(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (forwards(0), forwards(1), forwards(512), forwards(513)) == (0, 1, 1, 2)
    told = []
    tally = Tally(2, lambda *report: told.append(report))
    tally.step("this")
    tally.step("that")
    assert told == [(1, 2, "this"), (2, 2, "that")]
