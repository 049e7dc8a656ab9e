"""Steering through an exact bridge is patching the node; other directions are what they are said to be."""

from __future__ import annotations

import dataclasses
import json
from typing import Literal

import pytest
import torch

from sparsecircuits.bridges.asked import asked, chances, lead
from sparsecircuits.bridges.directions import (
    gradient_direction,
    here,
    log_chance,
    means_direction,
    random_directions,
    values_at,
)
from sparsecircuits.bridges.mapping import Place, mapped_rows, size_ratios, stream_nodes, stream_reads
from sparsecircuits.bridges.sides import Side, side_of, traced
from sparsecircuits.bridges.steering import Ranked, Steering, best_node, steer
from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate.interchange import NodeValues
from tests.bridges.exact import (
    GPT2_SHAPE,
    SCALE,
    alone,
    as_gpt2,
    bridge_of,
    drawn_model,
    drawn_pairs,
    exact,
)

AT = Place(2, "read")


def patched(model: SparseGPT, pairs: TokenPairs, nodes: list[Node]) -> torch.Tensor:
    """[rows, vocab] logits while nodes are as on the other prompt: an ordinary interchange."""
    values = NodeValues.of(model, nodes, lambda: model(pairs.tokens, pairs.last))
    with torch.no_grad(), values.rows(torch.arange(2 * len(pairs)).roll(len(pairs))).put(model):
        return model(pairs.tokens, pairs.last)


def plain(model: SparseGPT, pairs: TokenPairs) -> torch.Tensor:
    with torch.no_grad():
        return model(pairs.tokens, pairs.last)


def by_hand(logits: torch.Tensor, pairs: TokenPairs) -> dict[str, float]:
    likely, rows = logits.softmax(-1), torch.arange(len(logits))
    own, other = likely[rows, pairs.target], likely[rows, pairs.other]
    pair = other / (own + other)
    return {"p_other": float(other.mean()), "pair": float(pair.mean()), "p_own": float(own.mean())}


@pytest.mark.parametrize("place", [0, -1])
def test_through_an_exact_bridge_it_is_an_interchange_of_the_node(place: int):
    """With another gain and another size on either side, so that each part of the map counts."""
    made = exact("depth")
    node = made.reads[place]
    found = steer(
        *made.sides, node, made.pairs, made.reference, strengths=[0, 0.5, 1], draws=2, steps=2, rows=10
    )
    assert found.ratio == pytest.approx(1 / SCALE, rel=1e-4)
    bridge = found.directions[0]
    for at, logits in ((0, plain(made.dense, made.pairs)), (2, patched(made.dense, made.pairs, [node]))):
        for key, right in by_hand(logits, made.pairs).items():
            assert getattr(bridge, key)[at] == pytest.approx(right, abs=2e-5), (key, at)
    assert bridge.p_other[2] > bridge.p_other[0] + 0.4
    assert found.circuit_sha256 is None
    assert found.right == 1


def test_with_ratio_1_between_a_model_and_itself():
    model = drawn_model(GPT2_SHAPE, 0)
    pairs, side = drawn_pairs(), side_of(model)
    bridge = bridge_of(torch.eye(16), locations=5)
    for location, site in enumerate(("0.attn.act_in", "0.mlp.act_in", "1.attn.act_in", "1.mlp.act_in")):
        node = Node.parse(f"{site}.{location + 3}")
        found = steer(side, side, bridge, node, pairs, pairs, strengths=[1], draws=1, steps=1)
        assert (found.ratio, found.location) == (1, location)
        right = by_hand(patched(model, pairs, [node]), pairs)
        assert found.directions[0].p_other[0] == pytest.approx(right["p_other"], rel=1e-5)
        assert right["p_other"] != pytest.approx(by_hand(plain(model, pairs), pairs)["p_other"], rel=1e-3)


@pytest.mark.parametrize("site", ["0.mlp.resid_delta", "1.attn.resid_delta"])
def test_a_node_that_writes_is_steered_in_the_stream(site: str):
    """An exact bridge again; the stream of the dense model is :data:`SCALE` as large."""
    made = exact("depth" if site.startswith("1") else "quote")
    node = next(node for node in sorted(made.circuit.nodes) if str(node.at) == site)
    found = steer(*made.sides, node, made.pairs, made.reference, strengths=[0, 1], draws=1, steps=1, rows=10)
    layer, half = node.layer, site.split(".")[1]
    assert (found.location, found.ratio) == (2 * layer + 1 + (half == "mlp"), 1)
    assert found.norm == pytest.approx(SCALE)
    for key, right in by_hand(patched(made.dense, made.pairs, [node]), made.pairs).items():
        assert getattr(found.directions[0], key)[1] == pytest.approx(right, abs=2e-5), key


def test_a_write_is_what_the_site_has():
    side, pairs = side_of(drawn_model(GPT2_SHAPE, 0)), drawn_pairs()
    _, cache = side.module.run_with_cache(pairs.tokens)  # type: ignore[operator]
    for place in (Place(1, "write"), Place(4, "write"), Place(2, "read")):
        found = values_at(side, pairs.tokens, place)
        assert torch.equal(found, cache[str(place.site)])


def test_a_gpt2_is_steered_like_the_model_that_it_copies():
    sparse = drawn_model(GPT2_SHAPE, 0)
    dense, pairs = as_gpt2(drawn_model(GPT2_SHAPE, 0)), drawn_pairs()
    with torch.no_grad():
        torch.testing.assert_close(dense(pairs.tokens).logits, sparse(pairs.tokens), rtol=1e-4, atol=1e-4)
    bridge = bridge_of(torch.cat([torch.eye(16), -torch.eye(16)]), locations=5)
    node = Node.parse("1.attn.act_in.5")
    found = steer(side_of(dense), side_of(sparse), bridge, node, pairs, pairs, draws=1, steps=1)
    for key, right in by_hand(patched(sparse, pairs, [node]), pairs).items():
        assert getattr(found.directions[0], key)[-1] == pytest.approx(right, rel=1e-3), key
    assert len(found.strengths) == 11


def test_intervals_and_sides():
    made = exact()
    node, pairs = made.reads[-1], made.pairs
    found = steer(*made.sides, node, pairs, made.reference, strengths=[0.5, 1], draws=3, steps=2)
    assert [curve.name for curve in found.directions] == ["bridge", "random", "means", "gradient"]
    for curve in (*found.directions, *found.sides.values()):
        for key in ("p_other", "pair", "p_own"):
            columns = (getattr(curve, key + end) for end in ("_low", "", "_high"))
            for low, middle, high in zip(*columns, strict=True):
                assert low <= middle + 1e-9
                assert middle <= high + 1e-9
    logits, n = patched(made.dense, pairs, [node]), len(pairs)
    likely = logits.softmax(-1)[torch.arange(2 * n), pairs.other]
    assert found.sides["left"].p_other[-1] == pytest.approx(float(likely[:n].mean()), abs=2e-5)
    assert found.sides["right"].p_other[-1] == pytest.approx(float(likely[n:].mean()), abs=2e-5)
    assert (found.prompts, found.pairs, found.split) == (2 * n, n, "heldout")
    # The interval is narrow where all prompts agree and not where they do not.
    assert found.directions[0].p_other_low[1] < found.directions[0].p_other_high[1]


def test_batches_change_nothing():
    made = exact("depth")
    node = made.reads[-1]

    def of(rows: int) -> Steering:
        return steer(
            *made.sides, node, made.pairs, made.reference, strengths=[1], draws=2, steps=3, rows=rows
        )

    few, many = of(6), of(256)
    for a, b in zip(
        [*few.directions, *few.sides.values()], [*many.directions, *many.sides.values()], strict=True
    ):
        assert a.p_other == pytest.approx(b.p_other, abs=1e-4)
        assert a.p_other_low == pytest.approx(b.p_other_low, abs=1e-4)


def test_json_there_and_back():
    made = exact()
    found = steer(
        *made.sides, made.reads[0], made.pairs, made.reference, strengths=[1], draws=1, steps=1,
        ranking=[Ranked(made.reads[0], 0.5)],
    )  # fmt: skip
    data = json.loads(json.dumps(found.to_dict()))
    assert Steering.from_dict(data) == found
    assert (data["format"], data["version"]) == ("sparsecircuits.steering", 1)
    assert data["ranking"] == [[str(made.reads[0]), 0.5]]
    assert list(data["sides"]) == ["left", "right"]
    with pytest.raises(ConfigError, match="version is 2"):
        Steering.from_dict({**data, "version": 2})


# --- Which prompts, which answers ---


def test_one_token_against_all_is_steered_towards_the_token():
    made = exact("depth")
    pairs, reference = alone(made.pairs), alone(made.reference)
    node, n = made.reads[-1], len(made.pairs)
    found = steer(*made.sides, node, pairs, reference, strengths=[0, 1], draws=1, steps=1, rows=6)
    assert found.prompts == n
    assert list(found.sides) == ["right"]
    logits = patched(made.dense, made.pairs, [node])[n:].softmax(-1)
    likely = float(logits[torch.arange(n), pairs.other[n:]].mean())
    curve = found.directions[0]
    assert (curve.p_other[1], curve.pair[1]) == pytest.approx((likely, likely), abs=2e-5)
    assert curve.p_own[1] == pytest.approx(1 - likely, abs=2e-5)
    assert found.sides["right"] == curve


def test_one_side_alone():
    made = exact("depth")
    node, n = made.reads[-1], len(made.pairs)
    both = steer(*made.sides, node, made.pairs, made.reference, strengths=[0, 1], draws=1, steps=1, rows=6)
    logits = patched(made.dense, made.pairs, [node]).softmax(-1)
    likely = logits[torch.arange(2 * n), made.pairs.other]
    each: tuple[tuple[Literal["left", "right"], slice], ...] = (("left", slice(n)), ("right", slice(n, None)))
    for side, rows in each:
        found = steer(
            *made.sides,
            node,
            made.pairs,
            made.reference,
            strengths=[0, 1],
            draws=1,
            steps=1,
            rows=6,
            side=side,
        )
        assert (found.side, found.prompts, list(found.sides)) == (side, n, [side])
        assert found.directions[0].p_other[1] == pytest.approx(float(likely[rows].mean()), abs=2e-5)
        assert found.directions[0].p_other == pytest.approx(both.sides[side].p_other, abs=2e-5)
        ranked = best_node(*made.sides, made.reference, circuit=made.circuit, side=side)
        again = patched(made.dense, made.reference, [ranked[0].node]).softmax(-1)
        right = again[torch.arange(len(again)), made.reference.other][rows].mean()
        assert ranked[0].p_other == pytest.approx(float(right), abs=2e-5)
    with pytest.raises(ConfigError, match="no left prompts to steer"):
        steer(*made.sides, node, alone(made.pairs), alone(made.reference), side="left")


def test_chances_by_hand():
    logits = torch.tensor([[1.0, 2.0, 4.0]]).log()
    found = chances(logits, torch.tensor([1]), torch.tensor([2]))
    assert [float(one) for one in found] == pytest.approx([4 / 7, 4 / 6, 2 / 7])
    assert float(lead(logits, torch.tensor([1]), torch.tensor([2])).exp()) == pytest.approx(1 / 2)
    found = chances(logits, torch.tensor([-1]), torch.tensor([2]))
    assert [float(one) for one in found] == pytest.approx([4 / 7, 4 / 7, 3 / 7])
    assert float(lead(logits, torch.tensor([-1]), torch.tensor([2])).exp()) == pytest.approx(3 / 4)
    ask = asked(alone(drawn_pairs(2)))
    assert (ask.rows.tolist(), ask.partner.tolist()) == ([2, 3], [0, 1])
    assert (ask.own.tolist(), ask.other.tolist()) == ([-1, -1], [3, 3])
    assert asked(drawn_pairs(2)).partner.tolist() == [2, 3, 0, 1]


# --- The map and the directions ---


def gapped() -> tuple[Side, Side]:
    """Two models of other widths."""
    wide = GPTConfig(vocab_size=50, n_ctx=12, n_layer=2, d_model=24, d_head=8)
    return side_of(drawn_model(wide, 3)), side_of(drawn_model(GPT2_SHAPE, 0))


@torch.no_grad()
def test_ratios_are_means_over_real_tokens():
    dense, sparse = gapped()
    pairs = drawn_pairs()
    found = size_ratios(dense, sparse, pairs, rows=4)
    there, here_ = traced(dense, pairs.tokens), traced(sparse, pairs.tokens)
    for location in range(4):
        x, y = here_.stream[location], there.stream[location]
        ratio = ((x.square().mean(-1) + 1e-5) / y.square().mean(-1)).sqrt()
        real = [ratio[row, : int(last) + 1] for row, last in enumerate(pairs.last)]
        assert float(found[location]) == pytest.approx(float(torch.cat(real).mean()), rel=1e-3)
    padded = dataclasses.replace(pairs, tokens=torch.nn.functional.pad(pairs.tokens, (0, 3), value=9))
    torch.testing.assert_close(size_ratios(dense, sparse, padded), found)


@torch.no_grad()
def test_a_row_by_hand():
    dense, sparse = gapped()
    decoder = torch.randn(24, 16, generator=torch.Generator().manual_seed(0))
    bridge = bridge_of(decoder, locations=5)
    found = mapped_rows(dense, sparse, bridge, 3, torch.tensor([5, 7]), ratio=0.25)
    gain = {"dense": "transformer.h.1.ln_2.weight", "sparse": "transformer.h.1.ln_2.weight"}
    theirs, own = dense.module.get_parameter(gain["dense"]), sparse.module.get_parameter(gain["sparse"])
    for row, channel in zip(found, (5, 7), strict=True):
        torch.testing.assert_close(row, 0.25 * decoder[:, channel] * theirs / own[channel])
    own[7] = 0
    assert not mapped_rows(dense, sparse, bridge, 3, torch.tensor([7]), 1.0).any()


@torch.no_grad()
def test_the_means_are_least_squares_over_real_tokens():
    """Of two pairs the last two tokens are padding, whose activations differ all the same."""
    dense, sparse = gapped()
    pairs = drawn_pairs()
    found = means_direction(dense, sparse, pairs, AT, 5, rows=4)
    reads = dense.read(traced(dense, pairs.tokens).stream[2], 2)
    values = sparse.read(traced(sparse, pairs.tokens).stream[2], 2)[..., 5]
    real = torch.arange(7) <= pairs.last[:, None]
    n = len(pairs)
    change, theirs = (values.roll(n, 0) - values)[real], (reads.roll(n, 0) - reads)[real]
    right = torch.linalg.lstsq(change[:, None].double(), theirs.double()).solution[0]
    torch.testing.assert_close(found.double(), right, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_changes_are_of_real_tokens_left_prompts_first():
    dense, sparse = gapped()
    pairs, n = drawn_pairs(), 6
    values = sparse.read(traced(sparse, pairs.tokens).stream[2], 2)[..., [5, 9]]
    change = values.roll(n, 0) - values
    assert change[0, 5:].abs().min() > 1e-4  # the padding of the first pair
    change[[0, n], 5:] = 0
    for rows in (4, 256):
        at = here(dense, sparse, pairs, AT, torch.tensor([5, 9]), rows=rows)
        torch.testing.assert_close(at.change, change)
        assert torch.equal(at.tokens, pairs.tokens)
        assert torch.equal(at.other, pairs.other)


def test_gradient_ascent_ends_no_worse_than_it_starts():
    side, pairs = side_of(drawn_model(GPT2_SHAPE, 0)), drawn_pairs()
    at = here(side, side, pairs, AT, torch.tensor([5]))
    generator = torch.Generator().manual_seed(0)
    starts = random_directions(2, 3 * torch.ones(16), generator)
    assert starts.norm(dim=1).tolist() == pytest.approx([12, 12])
    found = gradient_direction(side, at, AT, starts, generator, steps=30)
    assert float(found.norm()) == pytest.approx(12, rel=1e-5)
    with torch.no_grad():
        before = [float(log_chance(side, at, AT, start)) for start in starts]
        after = float(log_chance(side, at, AT, found))
        assert after > max(before) + 0.1
        none = gradient_direction(side, at, AT, starts, generator, steps=0)
    assert float(log_chance(side, at, AT, none).detach()) == pytest.approx(max(before))


def test_directions_are_of_one_length_and_the_gradients_best():
    """On the pairs that it was found on, which here are those measured on too."""
    made = exact("depth")
    node, pairs = made.reads[-1], made.reference
    found = steer(*made.sides, node, pairs, pairs, strengths=[1], draws=4, steps=40)
    by_name = {curve.name: curve.p_other[0] for curve in found.directions}
    assert by_name["gradient"] >= max(by_name.values()) - 1e-6
    assert by_name["random"] < by_name["bridge"] / 2
    row = mapped_rows(*made.sides, found.location, torch.tensor([node.index]), ratio=found.ratio)[0]
    assert found.norm == pytest.approx(float(row.norm()), rel=1e-6)


# --- Which node ---


def test_the_best_node_is_the_one_that_steers_most():
    made = exact()
    ranked = best_node(*made.sides, made.reference, circuit=made.circuit, rows=10)
    touching = stream_nodes(made.circuit.nodes, made.sides[1])
    assert sorted(one.node for one in ranked) == touching
    assert set(made.reads) < set(touching)
    for node, p_other in ranked:
        right = by_hand(patched(made.dense, made.reference, [node]), made.reference)["p_other"]
        assert p_other == pytest.approx(right, abs=2e-5)
    assert [one.p_other for one in ranked] == sorted((one.p_other for one in ranked), reverse=True)


def test_without_a_circuit_every_channel_that_differs_is_tried():
    model, pairs = drawn_model(GPT2_SHAPE, 0), drawn_pairs()
    side, bridge = side_of(model), bridge_of(torch.eye(16), locations=5)
    with torch.no_grad():
        model.get_parameter("transformer.wte.weight")[:, 4] = 0  # so that the first location reads 0 there
    ranked = best_node(side, side, bridge, pairs)
    names = {str(one.node) for one in ranked}
    assert len(ranked) == 127  # of 16 at each of 8 places
    assert "0.attn.act_in.4" not in names
    right = by_hand(patched(model, pairs, [ranked[0].node]), pairs)["p_other"]
    assert ranked[0].p_other == pytest.approx(right, rel=1e-5)


def test_what_cannot_be_steered():
    made = exact()
    neuron = Node.parse("1.mlp.post_act.3")
    names = ", ".join(map(str, stream_nodes(made.circuit.nodes, made.sides[1])[:8]))
    with pytest.raises(
        ConfigError, match=f"1.mlp.post_act.3 neither reads .* such as {names} of the circuit"
    ):
        steer(*made.sides, neuron, made.pairs, made.reference, circuit=made.circuit)
    with pytest.raises(ConfigError, match=r"such as 0\.attn\.act_in\.0 to \.39 and"):
        steer(*made.sides, Node.parse("0.attn.act_in.40"), made.pairs, made.reference)
    few = {"strengths": [1], "draws": 1, "steps": 0}
    told = steer(*made.sides, made.reads[-1], made.pairs, made.reference, circuit=made.circuit, **few)  # type: ignore[arg-type]
    assert told.circuit_sha256 == circuit_hash(made.circuit)
    with pytest.raises(ConfigError, match="draws is 0"):
        steer(*made.sides, made.reads[0], made.pairs, made.reference, draws=0)
    dense, sparse, bridge = made.sides
    with pytest.raises(ConfigError, match="the bridge is for 3"):
        steer(dense, sparse, bridge_of(torch.eye(40), 4), made.reads[0], made.pairs, made.reference)
    with pytest.raises(ConfigError, match=r"40 \(dense\) and 40 \(sparse\) wide; the bridge joins 16 and 40"):
        steer(dense, sparse, bridge_of(torch.zeros(16, 40), 5), made.reads[0], made.pairs, made.reference)
    with pytest.raises(ConfigError, match="has no effect through the bridge"):
        steer(dense, sparse, bridge_of(torch.zeros(40, 40), 5), made.reads[0], made.pairs, made.reference)
    with pytest.raises(ConfigError, match="no node that touches the residual stream"):
        best_node(*made.sides, made.reference, circuit=made.circuit.keeping([]))
    long = dataclasses.replace(made.pairs, tokens=torch.zeros(24, 999, dtype=torch.long))
    with pytest.raises(ConfigError, match="prompts of 999 tokens, but the models' n_ctx are"):
        steer(*made.sides, made.reads[0], long, made.reference)
    same = dataclasses.replace(made.reference, tokens=made.reference.tokens[:12].repeat(2, 1))
    with pytest.raises(ConfigError, match="the same on both prompts of all 12 reference pairs"):
        steer(*made.sides, made.reads[0], made.pairs, same)


def test_a_gpt2_has_no_nodes():
    dense, pairs = side_of(as_gpt2(drawn_model(GPT2_SHAPE, 0))), drawn_pairs()
    with pytest.raises(ConfigError, match="the sparse side is a GPT2; nodes are of a SparseGPT"):
        steer(dense, dense, bridge_of(torch.eye(32), 5), Node.parse("0.attn.act_in.1"), pairs, pairs)


def test_positions_beside_the_stream_are_no_reads_of_it():
    side = side_of(SparseGPT(GPTConfig(vocab_size=9, n_layer=1, d_model=8, d_head=8, positions="concat")))
    nodes = [Node.parse(f"0.attn.act_in.{index}") for index in (7, 8)]
    assert stream_reads([*nodes, Node.parse("0.attn.q.3")], side) == nodes[:1]
    assert isinstance(exact().circuit, Circuit)
