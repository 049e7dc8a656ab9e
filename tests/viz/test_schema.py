"""The document's definition: our reader of schema.json against the jsonschema package, and the messages."""

from __future__ import annotations

import copy

import jsonschema
import pytest

from sparsecircuits.viz.schema import VERSION, PageError, check_document, load_schema
from tests.viz.fixture import demo_document, hostile_document

_DELETE = object()

# (path to a value, what to put there, what the message says)
MISFITS = [
    ((), [], "expected object"),
    (("title",), 3, "document.title is 3; expected string"),
    (("title",), _DELETE, "document lacks 'title'"),
    (("format",), "other", "expected 'sparsecircuits.page'"),
    (("extra",), 1, "unknown key 'extra'"),
    (("models",), {}, "document.models is empty"),
    (("models", "sparse", "n_layer"), 2.5, "expected integer"),
    (("models", "sparse", "n_head"), True, "expected integer"),
    (("models", "sparse", "tokens"), -1, "at least 0"),
    (("summary", "tasks", 0, "done"), 1, "expected boolean"),
    (("summary", "tasks", 0, "circuit", "sparse"), {"nodes": 1}, "lacks 'edges'"),
    (("circuits", 0, "form"), "vote", "allowed: 'contrast', 'one_against_all'"),
    (("circuits", 0, "nodes", 0, "site"), "attn.w", "allowed: 'attn.act_in'"),
    (("circuits", 0, "nodes", 0, "effect"), "much", "expected number"),
    (("circuits", 0, "nodes", 0, "tokens_in", 0), ["x"], "has 1 items; expected 2"),
    (("circuits", 0, "nodes", 0, "tokens_in", 0), ["x", 1, 2], "has 3 items; expected 2"),
    (("circuits", 0, "samples", 0, "side"), "middle", "allowed: 'left', 'right'"),
    (("circuits", 0, "metrics", "necessity"), {}, "lacks 'accuracy'"),
    (("circuits", 0, "nodes", 0, "text", "bands", 0, "top", 0), [0, 1, 2], "has 3 items; expected 4"),
    (("circuits", 0, "nodes", 0, "text", "nonzero"), None, "expected number"),
    (("circuits", 0, "nodes", 0, "positions_in", 0), [0], "has 1 items; expected 2"),
    (("circuits", 0, "attention", 0, "patterns", 0, "side"), "both", "allowed: 'left', 'right'"),
    (("circuits", 0, "attention", 0, "patterns", 0, "model", 0, 0), -1, "at least 0"),
    (("circuits", 0, "sweep", 0, "met"), _DELETE, "lacks 'met'"),
    (("circuits", 0, "pruning", "step"), 3, "expected array"),
    (("models", "sparse", "training", "loss"), _DELETE, "lacks 'loss'"),
]

# The same for what a schema cannot say.
BROKEN = [
    (("circuits", 0, "model"), "other", "is of model 'other'; models: sparse, dense"),
    (("circuits", 1, "id"), "sparse/single_double_quote", "appears twice"),
    (("circuits", 0, "edges", 0, "target"), "0.attn.v.0", "edges name '0.attn.v.0', which is no node"),
    (("circuits", 0, "stream", 0, "source"), "0.attn.v.0", "stream name '0.attn.v.0', which is no node"),
    (("circuits", 0, "nodes", 1, "name"), "0.mlp.act_in.41", "names a node twice: '0.mlp.act_in.41'"),
    (
        ("circuits", 0, "samples", 0, "activations", "1.attn.v.11"),
        [0.0],
        "1 activations of '1.attn.v.11' for 17 tokens",
    ),
    (("circuits", 0, "text", "windows", 1), [1, 4], "window 1 names token 4 of 4"),
    # Window 1 has two tokens; a snippet begins at its first.
    (
        ("circuits", 0, "nodes", 2, "text", "bands", 0, "bottom", 0),
        [1, 0, 1, [0, 0, 0]],
        "a snippet of '0.mlp.post_act.863' that lies in no window",
    ),
    (("circuits", 0, "nodes", 2, "text", "random", 0, 0), 2, "lies in no window"),
    (("circuits", 0, "nodes", 2, "text", "random", 0, 2), 5, "lies in no window"),
    (("circuits", 0, "attention", 0, "nodes", 0), "1.attn.q.14", "'1.attn.q.14' is no node of the circuit"),
    (("circuits", 0, "attention", 0, "patterns", 1, "pair"), 9, "pair 9 right is no sample"),
    (
        ("circuits", 0, "attention", 0, "patterns", 0, "circuit", 0),
        [500],
        "layer 1 head 0: a pattern that does not fit a prompt of 17 tokens",
    ),
]


def changed(path, value):
    document = copy.deepcopy(demo_document())
    if not path:
        return value
    *way, last = path
    place = document
    for step in way:
        place = place[step]
    if value is _DELETE:
        del place[last]
    else:
        place[last] = value
    return document


def test_the_schema_is_valid_and_takes_the_fixtures():
    jsonschema.Draft202012Validator.check_schema(load_schema())
    assert load_schema()["properties"]["version"] == {"const": VERSION}
    for document in (
        demo_document(),
        hostile_document(),
        {**demo_document(), "summary": None, "circuits": []},
    ):
        jsonschema.validate(document, load_schema(), cls=jsonschema.Draft202012Validator)
        check_document(document)


@pytest.mark.parametrize(("path", "value", "message"), MISFITS)
def test_misfits_are_refused_by_us_and_by_jsonschema(path, value, message):
    document = changed(path, value)
    with pytest.raises(PageError) as caught:
        check_document(document)
    assert message in str(caught.value)
    assert not jsonschema.Draft202012Validator(load_schema()).is_valid(document)


@pytest.mark.parametrize(("path", "value", "message"), BROKEN)
def test_broken_references_are_named(path, value, message):
    with pytest.raises(PageError) as caught:
        check_document(changed(path, value))
    assert message in str(caught.value)


def test_another_version_is_refused_with_both_numbers():
    with pytest.raises(PageError, match="version is 1; this package writes version 2"):
        check_document(changed(("version",), 1))
