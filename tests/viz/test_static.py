"""The still picture: it exists, holds what it must, and is the same every time."""

from __future__ import annotations

import pytest
from matplotlib.patches import PathPatch

from sparsecircuits.viz.static import circuit_figure, draw_circuit
from tests.viz.fixture import quote_circuit, random_circuit


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_it_names_every_node_row_and_token():
    shown = texts(circuit_figure(quote_circuit()))
    expected = [
        "863",
        "q 15",
        "k 15",
        "v 11",
        "head 0",
        "LAYER 1",
        "MLP neurons",
        '")⏎',
        "·name",
        "+1.07",
        "−0.91",
    ]
    assert set(expected) <= set(shown)


def test_negative_edges_are_dashed_and_orange():
    figure = circuit_figure(quote_circuit())
    edges = [p for p in figure.axes[0].patches if isinstance(p, PathPatch) and p.get_alpha() == 0.9]
    assert len(edges) == 9
    dashed = [p for p in edges if p.get_linestyle() not in ("solid", "-")]
    assert len(dashed) == 3  # weights -0.22, -1.18 and -0.91
    assert {p.get_edgecolor()[:3] for p in dashed} == {(0xC2 / 255, 0x54 / 255, 0x0A / 255)}


def test_a_dollar_in_a_token_is_no_formula(tmp_path):
    circuit = quote_circuit()
    circuit["nodes"][0]["tokens_in"] = [["$\\frac{$", 1.0]]
    draw_circuit(circuit, tmp_path / "circuit.png", scale=1)
    assert "$\\frac{$" in texts(circuit_figure(circuit))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_formats(tmp_path, ending):
    path = tmp_path / "pictures" / f"circuit.{ending}"
    draw_circuit(quote_circuit(), path, scale=1)
    start = path.read_bytes()[:60]
    assert {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending] in start


def test_a_big_circuit_is_drawn_without_labels(tmp_path):
    circuit = random_circuit("dense", "for_while", 60, 300)
    draw_circuit(circuit, tmp_path / "big.png", scale=1)
    assert "query · key · value" in texts(circuit_figure(circuit))
    assert not any(text.startswith(("q ", "k ", "v ")) for text in texts(circuit_figure(circuit)))


def test_a_node_with_a_name_is_drawn_with_it():
    circuit = quote_circuit()
    circuit["labels"] = {"nodes": {"1.attn.v.11": {"name": "carries it", "note": ""}}, "groups": []}
    shown = texts(circuit_figure(circuit))
    assert "carries it" in shown
    assert "v 11" not in shown
    assert "q 15" in shown
