"""A circuit as a notebook shows it: its figures, and its nodes row by row. Still HTML, and no model is run.

Text from outside (task, labels, hashes) is escaped; there is no script and no style sheet, so that nothing
outside the cell changes, and colours are the notebook's own.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sparsecircuits.model import Node

if TYPE_CHECKING:
    from sparsecircuits.circuit.circuit import Circuit

#: So many nodes of a site are named; of the others it is said how many there are.
MOST_NAMED = 40
_FIGURES = {  # key in info -> how it is told
    "edges": "{:,.0f} edges",
    "loss": "held-out loss {:.3f} nats",
    "target": "target {:.3g}",
    "accuracy": "accuracy {:.1%}",
    "full_loss": "whole model's loss {:.3f}",
}
_CELL = "text-align:left;vertical-align:top;padding:2px 14px 2px 0"
_PILL = (
    "display:inline-block;margin:1px 4px 1px 0;padding:0 7px;border:1px solid currentColor;"
    "border-radius:9px;opacity:.85"
)


def circuit_html(circuit: Circuit) -> str:
    """The circuit as HTML that can stand in any page."""
    parts = [
        f'<p style="margin:0 0 4px"><b>circuit for {escaped(circuit.task)}</b></p>',
        f'<p style="margin:0 0 6px">{" · ".join(_figures(circuit))}</p>',
        '<table style="border-collapse:collapse;font-size:90%"><tbody>',
        *_rows(circuit),
        "</tbody></table>",
        *_groups(circuit),
    ]
    return f'<div class="sparsecircuits-circuit">{"".join(parts)}</div>'


def escaped(text: Any) -> str:
    """Text for HTML, also inside an attribute; what UTF-8 cannot hold becomes a question mark.

    >>> escaped('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(str(text)).encode("utf-8", "replace").decode("utf-8")


def _figures(circuit: Circuit) -> Iterable[str]:
    yield f"{len(circuit):,} nodes"
    for key, form in _FIGURES.items():
        value = circuit.info.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield form.format(value)
    yield f"scale {circuit.scale:.3g}"
    if circuit.bias:
        yield f"bias {circuit.bias:+.3g}"
    if circuit.cut:
        yield f"{len(circuit.cut):,} edges cut"


def _rows(circuit: Circuit) -> Iterable[str]:
    sites: dict[str, list[Node]] = {}
    for node in sorted(circuit.nodes):
        sites.setdefault(str(node.at), []).append(node)
    for site, nodes in sites.items():
        # Those with a label are always named.
        plain = [node for node in nodes if node not in circuit.labels.nodes]
        hidden = set(plain[MOST_NAMED:])
        pills = [_pill(circuit, node) for node in nodes if node not in hidden]
        more = [f"and {len(hidden):,} more"] if hidden else []
        yield (
            f'<tr><th scope="row" style="{_CELL};font-weight:normal"><code>{escaped(site)}</code></th>'
            f'<td style="{_CELL};text-align:right">{len(nodes):,}</td>'
            f'<td style="{_CELL};white-space:normal">{" ".join(pills + more)}</td></tr>'
        )


def _pill(circuit: Circuit, node: Node) -> str:
    label = circuit.labels.nodes.get(node)
    said = [str(node)] + [part for part in (label.name, label.note) if part] if label else [str(node)]
    if node in circuit.gain:
        said.append(f"rescaled by {circuit.gain[node]:.3g}")
    name = f" <b>{escaped(label.name)}</b>" if label and label.name else ""
    return f'<span style="{_PILL}" title="{escaped(chr(10).join(said))}">{node.index}{name}</span>'


def _groups(circuit: Circuit) -> Iterable[str]:
    for group in circuit.labels.groups:
        nodes = ", ".join(f"<code>{escaped(node)}</code>" for node in group.nodes)
        note = f" – {escaped(group.note)}" if group.note else ""
        yield f'<p style="margin:4px 0 0;font-size:90%"><b>{escaped(group.name)}</b>{note}: {nodes}</p>'
