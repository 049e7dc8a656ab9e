"""A page of a large circuit stays small enough to be mailed, and says what it leaves out."""

from __future__ import annotations

from pathlib import Path

from sparsecircuits.viz import write_page
from sparsecircuits.viz.budget import LIMIT, Budget
from tests.viz.large import full_document


def test_larger_circuits_get_less_and_say_so() -> None:
    levels = [Budget.of(nodes) for nodes in (20, 600, 2_000, 20_000)]
    assert [budget.pairs for budget in levels] == [6, 3, 1, 1]
    assert [budget.snippets for budget in levels] == [3, 2, 1, 0]
    assert levels[0].left_out() == []
    assert "prompts: 3 pairs instead of 6" in levels[1].left_out()
    assert "pretraining text: 1 snippet a band instead of 3" in levels[2].left_out()
    assert "pretraining text: no snippets a band instead of 3" in levels[3].left_out()


def test_two_thousand_nodes_and_ten_thousand_edges_fit(tmp_path: Path) -> None:
    """Every part of the document is there, from a model with random weights."""
    document = full_document()
    (entry,) = document["circuits"]
    assert len(entry["edges"]) >= 10_000
    assert {"attention", "ablations", "text", "samples", "left_out"} <= entry.keys()
    assert len(entry["attention"]) == 16
    assert all(len(node["text"]["bands"]) == 4 for node in entry["nodes"])
    path = tmp_path / "page.html"
    write_page(document, path)
    assert path.stat().st_size < LIMIT
