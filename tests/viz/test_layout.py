"""Positions of a circuit small enough to place by hand."""

from __future__ import annotations

import json

import pytest

from sparsecircuits.viz.layout import lay_out, node_label
from sparsecircuits.viz.tokens import choose_chips, visible
from tests.viz.fixture import link, node, quote_circuit, random_circuit


def circuit(nodes, edges=(), stream=(), samples=()):
    return {"nodes": nodes, "edges": list(edges), "stream": list(stream), "samples": list(samples)}


def neuron():
    """One channel in, one neuron, one channel out: 3 nodes and 2 edges."""
    return circuit(
        [node("0.mlp.act_in.4"), node("0.mlp.post_act.5"), node("0.mlp.resid_delta.6")],
        [
            link("0.mlp.act_in.4", "0.mlp.post_act.5", 1.0),
            link("0.mlp.post_act.5", "0.mlp.resid_delta.6", -1.0),
        ],
    )


def test_a_neuron_stands_in_one_column():
    layout = lay_out(neuron())
    # Margin 24 + labels 165 + half of the smallest pill, 38; rows from 24 + 20, 78 apart.
    assert layout.nodes == {
        "0.mlp.act_in.4": (208.0, 44.0, 38.0),
        "0.mlp.post_act.5": (208.0, 122.0, 38.0),
        "0.mlp.resid_delta.6": (208.0, 200.0, 38.0),
    }
    assert [(row.key, row.label, row.layer) for row in layout.rows] == [
        ("0.mlp.act_in", "MLP reads", 0),
        ("0.mlp.post_act", "MLP neurons", 0),
        ("0.mlp.resid_delta", "MLP writes", 0),
    ]
    assert layout.width == 208 + 19 + 24
    assert layout.height == 200 + 20 + 24
    # Pills are 26 high: edges run from 57 to 109 and from 135 to 187, weights stand in their middles.
    assert layout.numbers == ((208.0, 83.0), (208.0, 161.0))


def test_tokens_stand_above_and_below():
    case = neuron()
    case["nodes"][0]["tokens_in"] = [["a", 1.0]]
    case["nodes"][2]["logits_out"] = [["b", -1.0]]
    case["samples"] = [{"answer": "b", "other": ""}]
    layout = lay_out(case)
    assert [row.key for row in layout.rows] == [
        "in",
        "0.mlp.act_in",
        "0.mlp.post_act",
        "0.mlp.resid_delta",
        "out",
    ]
    assert [(c.side, c.text, c.candidate, c.x, c.y) for c in layout.chips] == [
        ("in", "a", False, 208.0, 44.0),
        ("out", "b", True, 208.0, 356.0),
    ]
    # A chip is 24 high, a node 26.
    assert [step.points for step in layout.token_links] == [
        ((208.0, 56.0), (208.0, 109.0)),
        ((208.0, 291.0), (208.0, 344.0)),
    ]
    assert layout.lanes == ()  # nothing lies between


def test_a_late_read_gets_a_lane_past_the_rows_between():
    case = neuron()
    case["nodes"].append(node("1.attn.act_in.9", tokens_in=[["a", 1.0], ["b", 0.5]]))
    layout = lay_out(case)
    (lane,) = layout.lanes
    assert lane.node == "1.attn.act_in.9"
    # A bend in each row that it passes, then the pill's top.
    assert [y for _, y in lane.points] == [122.0, 200.0, 278.0, 343.0]
    assert all(step.points[-1] == lane.points[0] for step in layout.token_links)
    for name, (x, y, width) in layout.nodes.items():
        if name != "1.attn.act_in.9":
            assert all(abs(px - x) > width / 2 for px, py in lane.points if py == y)  # beside, not through


def test_the_stream_joins_a_write_to_a_later_read():
    nodes = [node("0.mlp.resid_delta.7"), node("1.attn.act_in.7")]
    stream = [{"source": "0.mlp.resid_delta.7", "target": "1.attn.act_in.7", "channel": 7}]
    (joined,) = lay_out(circuit(nodes, stream=stream)).streams
    assert joined.points == ((208.0, 57.0), (208.0, 109.0))


def test_a_head_is_boxed_with_q_k_v_in_order():
    nodes = [node("0.attn.v.3", 0), node("0.attn.k.3", 0), node("0.attn.q.3", 0), node("0.attn.v.20", 1)]
    layout = lay_out(circuit(nodes))
    assert [row.key for row in layout.rows] == ["0.attn.qkv"]
    x = {name: place[0] for name, place in layout.nodes.items()}
    # Pills of 38 stand 40 apart in a head, 36 more between heads.
    assert [x[n] - x["0.attn.q.3"] for n in ("0.attn.k.3", "0.attn.v.3")] == [78.0, 156.0]
    assert abs(x["0.attn.v.20"] - x["0.attn.v.3"]) == 38 / 2 + 40 + 36 + 46 / 2  # "v 20" is 46 wide
    first, second = layout.boxes
    assert (first.head, second.head) == (0, 1)
    assert first.width == 3 * 38 + 2 * 40 + 2 * 9
    assert first.height == 26 + 2 * 12


def test_sites_stand_in_the_order_of_the_forward_pass():
    keys = [row.key for row in lay_out(quote_circuit()).rows]
    assert keys == ["in", "0.mlp.act_in", "0.mlp.post_act", "0.mlp.resid_delta",
                    "1.attn.act_in", "1.attn.qkv", "1.attn.resid_delta", "out"]  # fmt: skip


def test_the_quote_circuit_crosses_nowhere_it_need_not():
    layout = lay_out(quote_circuit())
    x = {name: place[0] for name, place in layout.nodes.items()}
    assert (x["0.mlp.act_in.41"] < x["0.mlp.act_in.90"]) == (
        x["0.mlp.post_act.863"] < x["0.mlp.post_act.201"]
    )
    assert x["1.attn.q.15"] < x["1.attn.k.15"] < x["1.attn.v.11"]


@pytest.mark.parametrize("nodes", [12, 60, 300])
def test_nothing_overlaps(nodes):
    layout = lay_out(random_circuit("m", "t", nodes, 4 * nodes))
    assert layout.compact == (nodes > 40)
    rows: dict[float, list[tuple[float, float]]] = {}
    for x, y, width in layout.nodes.values():
        rows.setdefault(y, []).append((x - width / 2, x + width / 2))
    for spans in rows.values():
        spans.sort()
        assert all(a[1] < b[0] for a, b in zip(spans, spans[1:], strict=False))
        assert spans[0][0] >= 0
        assert spans[-1][1] <= layout.width


def test_layout_is_plain_data_and_the_same_every_time():
    first, second = (json.dumps(lay_out(quote_circuit()).to_dict()) for _ in range(2))
    assert first == second


def test_an_empty_circuit_has_an_empty_layout():
    layout = lay_out(circuit([]))
    assert layout.nodes == {}
    assert layout.rows == ()


def test_labels_and_visible_text():
    assert node_label(node("1.attn.q.15", 0)) == "q 15"
    assert node_label(node("0.mlp.post_act.863")) == "863"
    assert visible("    x = 1\n") == "····x = 1⏎"
    assert visible("\x00\t") == "␀⇥"
    assert visible("abcdefgh", 5) == "abcd…"


def test_chips_put_candidates_first_then_each_nodes_strongest():
    nodes = [
        node("0.mlp.resid_delta.1", logits_out=[["w", 0.1], ["right", 0.2], ["x", -3.0]]),
        node("0.mlp.resid_delta.2", logits_out=[["y", 2.0], ["z", 1.0]]),
    ]
    chips = choose_chips(circuit(nodes, samples=[{"answer": "right", "other": "wrong"}]), per_node=1)
    assert [(chip.text, chip.candidate) for chip in chips] == [("right", True), ("x", False), ("y", False)]


def test_a_given_name_stands_in_the_pill_and_makes_room():
    case = neuron()
    case["labels"] = {"nodes": {"0.mlp.post_act.5": {"name": "finds a quote", "note": ""}}, "groups": []}
    assert lay_out(case).nodes["0.mlp.post_act.5"][2] == 8 * 13 + 14
    assert (
        node_label(node("0.mlp.post_act.5"), "a name of more than eighteen letters") == "a name of more th…"
    )


def test_the_page_is_told_little():
    case = quote_circuit()
    told = lay_out(case).to_dict()
    assert len(told["nodes"]) == 13
    first = case["nodes"].index(next(n for n in case["nodes"] if n["name"] == "0.mlp.act_in.41"))
    (x, y, width) = lay_out(case).nodes["0.mlp.act_in.41"]
    assert told["nodes"][first] == [round(x, 1), round(y, 1), width]
    assert told["bends"] == []  # both streams lead to the next row
    chip, number, weight, points = told["token_links"][0]
    assert told["chips"][chip]["text"] in dict(case["nodes"][number]["tokens_in"])
    assert weight == dict(case["nodes"][number]["tokens_in"])[told["chips"][chip]["text"]]
    assert len(points) == 2
