"""One program in a model of its own, placed in order: exact nodes, edges and values."""

from __future__ import annotations

import math

import pytest
import torch

from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.validate.planted.place import HEAVY, Places, empty_model, put_program
from sparsecircuits.validate.planted.program import BALLAST, Program
from sparsecircuits.validate.planted.programs import BIGRAM, DEPTH, INDUCTION, N_CTX
from sparsecircuits.validate.planted.texts import byte_tokenizer
from sparsecircuits.validate.planted.truth import Part

CONFIG = GPTConfig(
    vocab_size=257,
    n_ctx=N_CTX,
    n_layer=2,
    d_model=12,
    d_head=4,
    d_mlp=8,
    topk_fraction=None,
    positions="learned",
    bigram=False,
)


def alone(program: Program, *, twice: bool = False) -> tuple[SparseGPT, tuple[Part, ...]]:
    """The ballast is channel 0, and the program's roles are channels 1, 2, … in the order of mention."""
    places = Places(CONFIG)
    model = empty_model(CONFIG, places.channels.pop(0))
    minimal = put_program(model, places, program, places.channels_for(program, {BALLAST: 0}), twice=twice)
    return model, minimal


def named(*names: str) -> frozenset[Node]:
    return frozenset(map(Node.parse, names))


def run(model: SparseGPT, prompt: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits at the last token, and activations [pos, width]."""
    tokens = torch.tensor([[byte_tokenizer().eot_id, *byte_tokenizer().encode(prompt)]])
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
    return logits[0, -1], {name: value[0] for name, value in cache.items()}


def token(character: str) -> int:
    return byte_tokenizer().encode(character)[0]


def test_an_empty_model_reads_the_ballast_as_one_and_answers_nothing() -> None:
    model = empty_model(CONFIG, 3)
    logits, cache = run(model, "abc")
    assert logits.abs().max() == 0
    expected = torch.zeros(4, 12)
    expected[:, 3] = 1
    torch.testing.assert_close(cache["0.attn.act_in"], expected)
    assert float(cache["0.resid_in"][0, 3]) == HEAVY


def test_bigram_by_hand() -> None:
    # Channels: 1 feature, 2 next. Neurons 0 and 1.
    model, (part,) = alone(BIGRAM)
    assert part.nodes == named(
        "0.mlp.act_in.1", "0.mlp.post_act.0", "0.mlp.post_act.1", "0.mlp.resid_delta.2"
    )
    assert {(str(source), str(target)) for source, target in part.edges} == {
        ("0.mlp.act_in.1", "0.mlp.post_act.0"),
        ("0.mlp.act_in.1", "0.mlp.post_act.1"),
        ("0.mlp.post_act.0", "0.mlp.resid_delta.2"),
        ("0.mlp.post_act.1", "0.mlp.resid_delta.2"),
    }
    logits, cache = run(model, "ban")
    assert cache["0.mlp.post_act"][-1, :2].tolist() == pytest.approx([0, 8], abs=1e-3)  # gelu(-8), gelu(8)
    assert float(cache["0.mlp.resid_delta"][-1, 2]) == pytest.approx(-1, abs=1e-4)
    # The unembedding is 3 for "!" and -3 for "?".
    assert [float(logits[token(c)]) for c in "!?"] == pytest.approx([-3, 3], abs=1e-3)


def test_bigram_twice_has_a_minimal_set_for_every_choice_of_two_neurons() -> None:
    _, minimal = alone(BIGRAM, twice=True)
    neurons = [sorted(node.index for node in part.nodes if node.site == "mlp.post_act") for part in minimal]
    assert neurons == [[0, 2], [0, 3], [1, 2], [1, 3]]  # 0 or 1 for "m", 2 or 3 for "n"


def test_depth_by_hand() -> None:
    # Channels: 1 open, 2 depth, 3 deep. Head 0 of each layer; its q and k meet in its first channel.
    model, (part,) = alone(DEPTH)
    # The query of layer 0, and key and value of layer 1, come from ballast and biases: constant, so free.
    assert part.nodes == named(
        *("0.attn.act_in.1", "0.attn.k.0", "0.attn.v.0", "0.attn.resid_delta.2"),
        *("1.attn.act_in.2", "1.attn.q.0", "1.attn.resid_delta.3"),
    )
    assert len(part.edges) == 4
    for prompt, brackets in (("ab[cdefghijk", 1), ("ab[c[efghijk", 2)):
        logits, cache = run(model, prompt)
        # Scores: 8 at a bracket, as the sink, else 0, and there are 13 tokens; 6 is a bracket's value.
        weight = brackets * math.exp(8) / ((brackets + 1) * math.exp(8) + 13 - brackets)
        depth = 3 * weight
        assert float(cache["0.attn.resid_delta"][-1, 2]) == pytest.approx(depth, rel=1e-4)
        # Every key of layer 1 is 2.5, so the score of all 13 tokens is q * 2.5 / 2, against a sink of 2.5.
        score = (16 * depth - 28.8) * 2.5 / 2
        deep = 13 * math.exp(score) / (13 * math.exp(score) + math.exp(2.5))
        assert float(logits[token("2")]) == pytest.approx(12 * deep, abs=2e-3)
        assert float(logits[token("1")]) == pytest.approx(7, abs=1e-3)
        assert bool(logits[token("2")] > logits[token("1")]) == (brackets == 2)


def test_induction_looks_one_back_and_then_for_itself() -> None:
    # Channels: 1, 2 the bits, 3, 4 the wave, 5, 6 the bits before, 7, 8 the copied bits.
    model, (part,) = alone(INDUCTION)
    assert part.nodes == named(
        *(f"0.attn.act_in.{channel}" for channel in (1, 2, 3, 4)),
        *(f"0.attn.{row}.{dim}" for row in "qkv" for dim in (0, 1)),
        *("0.attn.resid_delta.5", "0.attn.resid_delta.6"),
        *(f"1.attn.act_in.{channel}" for channel in (1, 2, 5, 6)),
        *(f"1.attn.{row}.{dim}" for row in "qkv" for dim in (0, 1)),
        *("1.attn.resid_delta.7", "1.attn.resid_delta.8"),
    )
    logits, cache = run(model, "abpqcdurefp")
    # p is (1, 1) and q (1, -1). Behind p, at the q (token 4), the bits before are those of p; one token
    # to either side scores 162 (1 - cos 15°) = 5.5 less, so that 0.4% each go there.
    assert cache["0.attn.resid_delta"][4, 5:7].tolist() == pytest.approx([1, 1], abs=0.02)
    assert cache["0.attn.resid_delta"][7, 5:7].abs().max() < 0.02  # behind d
    copied = cache["1.attn.resid_delta"][-1, 7:9].tolist()
    assert copied == pytest.approx([0.95, -0.95], abs=0.03)  # e^12 / (e^12 + e^9), a little less
    best = max("pqru", key=lambda letter: float(logits[token(letter)]))
    assert best == "q"
