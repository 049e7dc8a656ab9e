"""The page's document: one versioned JSON value, defined in ``schema.json`` (JSON Schema 2020-12).

:func:`check_document` reads that file and applies it, so that there is one definition and no extra
dependency at run time, then checks what a schema cannot say: that edges join nodes of their circuit, that
every prompt has one activation per token, and that snippets and patterns are of the text that is there. The
tests hold it against the ``jsonschema`` package.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from importlib import resources
from typing import Any

from sparsecircuits.errors import SparseCircuitsError
from sparsecircuits.model import SITES

FORMAT, VERSION = "sparsecircuits.page", 2

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


class PageError(SparseCircuitsError, ValueError):
    """A document that does not fit the page's schema: where, what it is, what is allowed."""


@functools.cache
def load_schema() -> dict[str, Any]:
    """The schema as plain data, with the names of the eight sites put in."""
    text = resources.files("sparsecircuits.viz").joinpath("schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    schema["$defs"]["node"]["properties"]["site"]["enum"] = list(SITES)
    return schema


def check_document(document: Any) -> None:
    """Raise :class:`PageError` naming the first thing that is wrong.

    >>> check_document({"format": "sparsecircuits.page", "version": 1})
    Traceback (most recent call last):
    sparsecircuits.viz.schema.PageError: document.version is 1; this package writes version 2
    """
    if isinstance(document, dict) and document.get("version", VERSION) != VERSION:
        raise PageError(f"document.version is {document['version']!r}; this package writes version {VERSION}")
    schema = load_schema()
    for problem in _problems(document, schema, schema["$defs"], "document"):
        raise PageError(problem)
    for problem in _broken_references(document):
        raise PageError(problem)


def _problems(value: Any, schema: dict[str, Any], defs: dict[str, Any], where: str) -> Iterator[str]:
    """What is wrong, for the part of JSON Schema that ``schema.json`` uses."""
    if "$ref" in schema:
        schema = defs[schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        found = [list(_problems(value, option, defs, where)) for option in schema["anyOf"]]
        if all(found):
            yield found[-1][0]  # options are written with the plain one (null) first
        return
    if "const" in schema and value != schema["const"]:
        yield f"{where} is {value!r}; expected {schema['const']!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}; allowed: {', '.join(map(repr, schema['enum']))}"
        return
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{where} is {_brief(value)}; expected {kind}"
        return
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is {value!r}; it must be finite"
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{where} is {value!r}; at least {schema['minimum']} is allowed"
    if isinstance(value, dict):
        yield from _object_problems(value, schema, defs, where)
    elif isinstance(value, (list, tuple)):
        yield from _array_problems(value, schema, defs, where)


def _object_problems(value: dict, schema: dict[str, Any], defs: dict[str, Any], where: str) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key in schema.get("required", ()):
        if key not in value:
            yield f"{where} lacks {key!r}"
    if len(value) < schema.get("minProperties", 0):
        yield f"{where} is empty"
    for key, item in value.items():
        rule = properties.get(key, others)
        if rule is False:
            yield f"{where} has an unknown key {key!r}; known: {', '.join(properties)}"
        elif rule is not True:
            yield from _problems(item, rule, defs, f"{where}.{key}")


def _array_problems(value: Any, schema: dict[str, Any], defs: dict[str, Any], where: str) -> Iterator[str]:
    first = schema.get("prefixItems", ())
    if len(value) < schema.get("minItems", 0) or len(value) > schema.get("maxItems", len(value)):
        yield f"{where} has {len(value)} items; expected {schema.get('minItems', 0)}"
    for i, item in enumerate(value):
        rule = first[i] if i < len(first) else schema.get("items", {})
        yield from _problems(item, rule, defs, f"{where}[{i}]")


def _broken_references(document: dict[str, Any]) -> Iterator[str]:
    seen: set[str] = set()
    for circuit in document["circuits"]:
        where = f"circuit {circuit['id']!r}"
        if circuit["id"] in seen:
            yield f"{where} appears twice"
        seen.add(circuit["id"])
        if circuit["model"] not in document["models"]:
            yield f"{where} is of model {circuit['model']!r}; models: {', '.join(document['models'])}"
        names = [node["name"] for node in circuit["nodes"]]
        known = set(names)
        if len(known) < len(names):
            yield f"{where} names a node twice: {next(n for n in names if names.count(n) > 1)!r}"
        for kind in ("edges", "stream"):
            for link in circuit[kind]:
                for end in ("source", "target"):
                    if link[end] not in known:
                        yield f"{where}: {kind} name {link[end]!r}, which is no node of the circuit"
        yield from _misfitting_samples(circuit, where)
        yield from _misfitting_patterns(circuit, known, where)
        yield from _misfitting_snippets(circuit, where)


def _misfitting_samples(circuit: dict[str, Any], where: str) -> Iterator[str]:
    for sample in circuit["samples"]:
        for name, values in sample["activations"].items():
            if len(values) != len(sample["tokens"]):
                prompt = f"pair {sample['pair']} {sample['side']}"
                sizes = f"{len(values)} activations of {name!r} for {len(sample['tokens'])} tokens"
                yield f"{where}, {prompt}: {sizes}"


def _misfitting_patterns(circuit: dict[str, Any], known: set[str], where: str) -> Iterator[str]:
    lengths = {(sample["pair"], sample["side"]): len(sample["tokens"]) for sample in circuit["samples"]}
    for head in circuit.get("attention", ()):
        what = f"{where}, layer {head['layer']} head {head['head']}"
        for name in head["nodes"]:
            if name not in known:
                yield f"{what}: {name!r} is no node of the circuit"
        for pattern in head["patterns"]:
            length = lengths.get((pattern["pair"], pattern["side"]))
            if length is None:
                yield f"{what}: pair {pattern['pair']} {pattern['side']} is no sample of the circuit"
                continue
            wanted = [query + 1 + head["sink"] for query in range(length)]
            for kind in ("circuit", "model"):
                if [len(row) for row in pattern[kind]] != wanted:
                    yield f"{what}: a pattern that does not fit a prompt of {length} tokens"


def _misfitting_snippets(circuit: dict[str, Any], where: str) -> Iterator[str]:
    text = circuit.get("text", {"vocabulary": (), "windows": ()})
    for i, window in enumerate(text["windows"]):
        if window and max(window) >= len(text["vocabulary"]):
            yield f"{where}: window {i} names token {max(window)} of {len(text['vocabulary'])}"
    lengths = [len(window) for window in text["windows"]]
    for node in circuit["nodes"]:
        for window, start, at, values in _snippets(node.get("text")):
            if window >= len(lengths) or not start <= at < start + len(values) <= lengths[window]:
                yield f"{where}: a snippet of {node['name']!r} that lies in no window"


def _snippets(text: dict[str, Any] | None) -> Iterator[Any]:
    if text is not None:
        for band in text["bands"]:
            yield from (*band["top"], *band["bottom"])
        yield from text["random"]


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}... ({type(value).__name__})"
