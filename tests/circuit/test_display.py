"""A circuit in a notebook: what it says, and that nothing in it is more than text."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

from sparsecircuits.circuit.display import MOST_NAMED
from tests.circuit import toy
from tests.viz.payloads import PAYLOADS


class Read(HTMLParser):
    """Tags, attributes' names and text of some HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.titles: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.titles += [value or "" for name, value in attrs if name == "title"]

    def handle_data(self, data):
        self.texts.append(data)


def test_it_tells_figures_rows_and_labels():
    node, other = sorted(toy.nodes("0.attn.v.3", "0.attn.v.5"))
    circuit = toy.circuit("0.attn.v.3", "0.attn.v.5", "1.mlp.act_in.2", scale=1.5)
    circuit = circuit.labelled(node, "the quote", "which kind").grouped("copying", [node, other], "carries")
    info = {"edges": 1234, "loss": 0.0256, "accuracy": 0.989, "full_loss": None}
    read = Read(dataclasses.replace(circuit.rescaled(other, 2.0), info=info)._repr_html_())
    told = " ".join(" ".join(read.texts).split())
    assert "circuit for toy" in told
    assert "3 nodes · 1,234 edges · held-out loss 0.026 nats · accuracy 98.9% · scale 1.5" in told
    assert "0.attn.v 2 3 the quote 5 1.mlp.act_in 1 2" in told
    assert "copying – carries: 0.attn.v.3 , 0.attn.v.5" in told
    assert "0.attn.v.3\nthe quote\nwhich kind" in read.titles
    assert "0.attn.v.5\nrescaled by 2" in read.titles


def test_of_many_nodes_some_are_named_and_those_with_a_label_always():
    config = toy.CONFIG.replace(d_mlp=60)
    names = [f"0.mlp.post_act.{i}" for i in range(60)]
    circuit = dataclasses.replace(toy.circuit(), frozen=toy.values(config), nodes=toy.nodes(*names))
    read = Read(circuit.labelled(sorted(circuit.nodes)[59], "last")._repr_html_())
    assert read.texts[-1].endswith(f"and {60 - 1 - MOST_NAMED} more")
    assert "last" in read.texts
    assert len(read.titles) == MOST_NAMED + 1


def test_foreign_text_stays_text():
    for payload in PAYLOADS:
        circuit = dataclasses.replace(toy.circuit("0.attn.v.3"), task=payload, info={"loss": payload})
        read = Read(circuit._repr_html_())
        assert read.tags <= {"div", "p", "b", "table", "tbody", "tr", "th", "td", "span", "code"}
        assert read.attributes <= {"class", "style", "title", "scope"}
        shown = payload.encode("utf-8", "replace").decode()
        assert read.texts[0] == f"circuit for {shown}"
