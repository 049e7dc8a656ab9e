"""Nodes are added until the inside matches, and no more than that takes."""

from __future__ import annotations

from sparsecircuits.validate.internal_match import compare
from sparsecircuits.validate.matching import match_inside
from sparsecircuits.validate.thresholds import THRESHOLDS
from tests.validate.subjects import PROGRAMS, planted, subject, truth


def test_a_true_circuit_needs_no_more():
    about = subject()
    found = match_inside(about)
    assert (found.added, found.passed) == (0, True)
    assert found.circuit is about.circuit


def test_the_keys_that_are_missing_come_back():
    # Without its keys the head of the last step attends by means; what it does is no longer kept either.
    whole = truth()
    keys = {node for node in whole.nodes if node.layer == 1 and node.site == "attn.k"}
    behind = {node for node in whole.nodes if node.layer == 1 and node.site == "attn.resid_delta"}
    broken = whole.without([*keys, *behind])
    before = compare(planted().model, broken, subject().some)
    assert before.attention is not None
    assert before.attention > THRESHOLDS.attention_distance
    found = match_inside(subject(circuit=broken))
    assert found.passed
    assert found.circuit.nodes - broken.nodes == keys
    assert found.added == len(keys)


def test_a_search_that_may_add_too_few_says_so():
    whole = truth()
    gone = [node for node in whole.nodes if node.layer == 1 and node.site in ("attn.k", "attn.resid_delta")]
    about = subject(circuit=whole.without(gone))
    found = match_inside(about, most=0)
    assert (found.added, found.passed) == (0, False)
    assert found.circuit is about.circuit


def test_a_program_without_heads_is_matched_by_its_values():
    assert "bigram" in PROGRAMS
    whole = truth("bigram")
    first = min(whole.nodes)
    found = match_inside(subject("bigram", circuit=whole.without([first])))
    assert found.passed
    assert first in found.circuit.nodes
