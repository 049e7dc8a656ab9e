"""Document -> one self-contained HTML file.

The file holds the template, one style, one script and the document as JSON. It asks for nothing: the
content security policy forbids every load and names the hashes of its own style and script.

What keeps foreign text (tokens, titles) from breaking out:

1. the JSON is ASCII, with ``<``, ``>`` and ``&`` escaped, so that it holds no tag and no U+2028;
2. the script writes text with ``textContent`` only;
3. were that to fail, the policy runs no script but ours.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from sparsecircuits.viz.layout import lay_out
from sparsecircuits.viz.schema import check_document

#: The drawing of a circuit, small or large, with its filters.
DRAWING = (
    "plan.js",
    "groups.js",
    "graph.js",
    "large-edges.js",
    "large-paint.js",
    "graph-large.js",
    "controls.js",
)
# Joined in this order into one script: helpers first; last comes what starts it (static.js in a file).
SCRIPTS = (
    "dom.js",
    "state.js",
    "summary.js",
    *DRAWING,
    "zoom.js",
    "search.js",
    "export.js",
    "panel.js",
    "labels-draft.js",
    "labels.js",
    "prompts.js",
    "card.js",
    "chart.js",
    "ablations.js",
    "curves.js",
    "bridge.js",
    "samples.js",
    "attention.js",
    "page.js",
)
STYLES = (
    "page.css",
    "graph.css",
    "charts.css",
    "samples.css",
    "attention.css",
    "labels.css",
)


def render_page(data: dict[str, Any]) -> str:
    """The page as one string of HTML.

    Args:
        data: a document as ``schema.json`` describes it. It is not changed; layouts are added to a copy.

    Raises:
        PageError: the document does not fit the schema; the message says where.
    """
    document = laid_out(data)
    style, script = joined_style(), joined_script([*SCRIPTS, "static.js"])
    parts = {
        "policy": content_policy(style, script),
        "title": html.escape(data["title"]).encode("utf-8", "replace").decode("utf-8"),
        "style": style,
        "document": embed_json(document),
        "script": script,
    }
    return filled(asset("page.html"), parts)


def laid_out(data: dict[str, Any]) -> dict[str, Any]:
    """The document as the script reads it: checked, and with a layout for each circuit.

    Raises:
        PageError: it does not fit the schema; the message says where.
    """
    check_document(data)
    document = copy.copy(data)
    document["circuits"] = [{**circuit, "layout": lay_out(circuit).to_dict()} for circuit in data["circuits"]]
    return document


def joined_script(names: Sequence[str], inner: Sequence[str] = ()) -> str:
    """Some of the assets as one script that leaves nothing behind.

    Args:
        names: in this order.
        inner: more, which see what the others define, while what they define is theirs alone.
    """
    parts = [asset(name) for name in names]
    if inner:
        parts.append(joined_script(inner))
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def joined_style(more: Sequence[str] = ()) -> str:
    """The page's style, and that of ``more`` assets."""
    return "\n".join(asset(name) for name in (*STYLES, *more))


def page_body() -> str:
    """What the page shows, without head, document and script, for a page that brings these in another way."""
    before, _, rest = asset("page.html").partition("<body>\n")
    body, found, _ = rest.partition('<script type="application/json"')
    assert before, "the template has a body"
    assert found, "the template has a document behind what it shows"
    return body


def filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with each ``{{name}}`` replaced, in one pass: what a part holds is never replaced."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def write_page(data: dict[str, Any], path: Path) -> None:
    """Write :func:`render_page` to ``path``, making its folder if need be."""
    content = render_page(data).encode("utf-8")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def embed_json(value: Any) -> str:
    """JSON that is safe inside a ``<script>`` element: pure ASCII without ``<``, ``>`` or ``&``.

    >>> embed_json("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def content_policy(style: str, script: str) -> str:
    """The policy that allows this style and this script and nothing else."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def asset(name: str) -> str:
    """The text of a file in ``assets``."""
    text = resources.files("sparsecircuits.viz").joinpath("assets", name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")  # browsers hash after this normalisation
