"""The path of a planted program is the program; what is not shown is counted."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.errors import ConfigError
from sparsecircuits.viz.drawing import Spot, active_path
from tests.viz.drawing.conftest import Planted


def test_the_quote_program_from_the_quote_to_the_answer(quote: Planted) -> None:
    """A single quote at token 3 of 7: a neuron says that there is a quote, one which, a head carries it."""
    path = quote.path("ab'cde", "'\"")
    channel = quote.known.channels
    hops = {(hop.source.position, hop.target.position): 0 for hop in path.hops}
    assert set(hops) == {(3, 3), (3, 6), (6, 6)}
    assert path.positions == [3, 6]
    told = {(hop.source.what, hop.target.what): hop.contribution for hop in path.hops}
    read = f"0.mlp.act_in.{channel['single']}"
    assert told["token", read] == pytest.approx(1, abs=1e-3)  # the embedding's entry
    # 8 times the quote's 1, less its mean.
    neurons = {target: moved for (source, target), moved in told.items() if source == read}
    assert list(neurons.values()) == pytest.approx([8 * (1 - path.means[Spot(read, 3)])] * 2, abs=1e-3)
    close = f"1.attn.resid_delta.{channel['close']}"
    (carried,) = [hop for hop in path.hops if hop.target == Spot(close, 6)]
    assert (carried.source.position, carried.weight) == (3, 0.25)
    assert carried.attention == pytest.approx(0.993, abs=1e-3)
    assert carried.contribution == pytest.approx(0.993 * 0.25 * 3.994, abs=1e-3)
    # The unembedding reads +3 for one quote and -3 for the other.
    (answer,) = [hop for hop in path.hops if hop.target.what == "answer"]
    mean = path.means[Spot(close, 6)]
    assert answer.weight == 6
    assert answer.contribution == pytest.approx(6 * (path.values[Spot(close, 6)] - mean), abs=1e-3)
    assert path.lead == pytest.approx(answer.contribution + 6 * mean, abs=1e-3)
    assert path.probability == pytest.approx(1 / (1 + 2.71828**-path.lead), abs=1e-4)
    (look,) = path.looks
    assert (look.layer, look.at, look.to) == (1, 6, 3)
    assert look.weight == pytest.approx(0.993, abs=1e-3)
    assert [(spot.position, spot.what.split(".")[2]) for spot, _ in look.parts] == [(3, "k")]


def test_every_true_node_is_on_some_path(quote: Planted) -> None:
    paths = [quote.path("ab'cde", "'\""), quote.path('ab"cde', "'\"")]
    shown = {spot.node for path in paths for spot in path.values}
    assert shown == quote.circuit.nodes
    assert paths[0].lead == pytest.approx(-paths[1].lead, abs=0.1)


def test_a_query_is_shown_where_it_lets_frozen_values_through(depth: Planted) -> None:
    """How many brackets are open is how much a head of layer 1 attends to anything at all."""
    path = depth.path("a[b[cd", "12")
    assert {spot.node for spot in path.values} == depth.circuit.nodes
    assert path.positions == [2, 4, 6]
    (constant,) = [hop for hop in path.hops if hop.source.head is not None]
    assert constant.source.position == constant.target.position == 6
    assert constant.contribution == pytest.approx(constant.weight * (constant.attention or 0))
    (query,) = [spot for look in path.looks for spot, _ in look.parts if spot.what.startswith("1.attn.q")]
    assert query.position == 6
    # Two brackets against the sink share a head of layer 0: a third each.
    looks = [look for look in path.looks if look.layer == 0]
    assert [(look.to, round(look.weight, 2)) for look in looks] == [(2, 0.33), (4, 0.33)]


def test_shown_and_left_out_are_all(quote: Planted) -> None:
    few, all_of_it = quote.path("ab'cde", "'\"", least=0.2), quote.path("ab'cde", "'\"", least=0.0)
    assert len(few.hops) < len(all_of_it.hops)
    assert not [spot for spot in all_of_it.left_out if spot in few.values]
    for spot in few.values:
        shown = [hop.contribution for hop in few.hops if hop.target == spot]
        every = [hop.contribution for hop in all_of_it.hops if hop.target == spot]
        rest = few.left_out.get(spot)
        assert len(shown) + (rest.count if rest else 0) == len(every)
        assert sum(shown) + (rest.contribution if rest else 0) == pytest.approx(sum(every), abs=1e-5)


def test_a_path_goes_on_to_its_beginning(quote: Planted) -> None:
    """Even if nothing brings all of the flow, the strongest hop is followed down to the token."""
    path = quote.path("ab'cde", "'\"", least=1.0)
    assert Spot("token", 3) in {hop.source for hop in path.hops}
    targets = [hop.target for hop in path.hops]
    assert len(targets) == len(set(targets))


def test_rows_are_plain_data(quote: Planted) -> None:
    path = quote.path("ab'cde", "'\"")
    rows = path.rows()
    assert len(rows) == len(path.hops) + 1
    assert rows[-1]["kind"] == "score"
    assert rows[-1]["target"].startswith("head 1.")
    assert {row["target"] for row in rows[:-1]} == {hop.target.what for hop in path.hops}
    assert rows[0]["source"] == "token"
    assert rows[0]["source_value"] is None


def test_one_answer_is_measured_against_all_others(quote: Planted) -> None:
    path = quote.path("ab'cde", "'")
    logits = quote.circuit.logits(quote.known.model, torch.tensor([path.tokens]))[0, -1]
    chances = logits.softmax(-1)
    token = path.answers[0]
    others = (logits * chances).sum() - logits[token] * chances[token]
    assert path.probability == pytest.approx(float(chances[token]))
    assert path.lead == pytest.approx(float(logits[token] - others / (1 - chances[token])), abs=1e-4)


def test_a_bias_counts(quote: Planted) -> None:
    tokens, answers = torch.tensor([256, 65, 66]), [39, 34]
    plain, biased = (
        active_path(quote.known.model, quote.circuit, tokens, answers, bias=bias) for bias in (0.0, 2.0)
    )
    assert biased.lead == pytest.approx(plain.lead + 2)
    assert [hop.contribution for hop in biased.hops if hop.source.what == "bias"] == [2.0]


@pytest.mark.parametrize(
    ("answers", "bias", "least", "message"),
    [
        ([], 0.0, 0.1, r"answers are \[\]; they are one or two of the model's token ids"),
        ([1, 2, 3], 0.0, 0.1, r"answers are \[1, 2, 3\]"),
        ([1, 257], 0.0, 0.1, r"answers are \[1, 257\]"),
        ([1], 0.5, 0.1, "a bias of 0.5 is between two answers; got one"),
        ([1, 2], 0.0, 1.5, "least is 1.5; it is a share of the answer, between 0 and 1"),
    ],
)
def test_what_it_refuses(quote: Planted, answers: list[int], bias: float, least: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        active_path(quote.known.model, quote.circuit, torch.tensor([1, 2]), answers, bias=bias, least=least)
