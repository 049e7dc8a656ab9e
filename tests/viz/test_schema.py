"""The document's definition: our reader of schema.json against the jsonschema package, and the messages."""

from __future__ import annotations

import copy

import jsonschema
import pytest

from sparsecircuits.viz.schema import PageError, check_document, load_schema
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
    with pytest.raises(PageError, match="version is 2; this package writes version 1"):
        check_document(changed(("version",), 2))
