"""The server's pages: a shell of HTML, one script, one style, all of them fixed.

A shell holds no text of a run's: only keys, which are plain, and the session's token. Everything else is
fetched by the script and shown as text.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Sequence
from typing import NamedTuple

from sparsecircuits.viz.page import SCRIPTS, asset, filled, joined_script, joined_style, page_body

LIVE_SCRIPTS = (
    "live-net.js",
    "live-odds.js",
    "live-changes.js",
    "live.js",
    "live-home.js",
    "live-prune.js",
    "live-compare.js",
    "live-start.js",
)
SCRIPT, STYLE, ICON = "/assets/app.js", "/assets/app.css", "/assets/icon.svg"


#: Circuits that a page of an unknown address names; the list of all is one link away.
_MOST_NAMED = 200


class Asset(NamedTuple):
    """A file that never changes while the server runs."""

    content: str
    kind: str


@functools.cache
def assets() -> dict[str, Asset]:
    """All files that are served as they are, by path; there are no others."""
    return {
        SCRIPT: Asset(joined_script(SCRIPTS, LIVE_SCRIPTS), "text/javascript"),
        STYLE: Asset(joined_style(["live.css"]), "text/css"),
        ICON: Asset(asset("live-icon.svg"), "image/svg+xml"),
    }


def not_found(reason: str, known: Sequence[tuple[str, str]]) -> str:
    """A page without a script, for an address that names nothing.

    Args:
        reason: one sentence.
        known: address and name of what is there.
    """
    named = [(address, name.encode("utf-8", "replace").decode()) for address, name in known[:_MOST_NAMED]]
    links = "\n".join(
        f'<li><a href="{html.escape(address)}">{html.escape(name)}</a></li>' for address, name in named
    )
    more = f"<p>and {len(known) - _MOST_NAMED} more</p>" if len(known) > _MOST_NAMED else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>sparsecircuits: not found</title>
<link rel="stylesheet" href="{STYLE}">
</head>
<body>
<h1>Not found</h1>
<p class="notice">{html.escape(reason)}</p>
<p><a href="/">Runs and circuits</a></p>
<ul>
{links}
</ul>
{more}
</body>
</html>
"""


def shell(view: str, token: str, run: str = "", circuit: str = "") -> str:
    """A page.

    Args:
        view: ``home``, ``circuit`` or ``compare``.
        token: the session's.
        run: the key of the run that is shown.
        circuit: the key of the circuit that is shown.
    """
    parts = {
        "view": view,
        "token": token,
        "run": run,
        "circuit": circuit,
        "script": SCRIPT,
        "style": STYLE,
        "icon": ICON,
        "body": page_body() if view == "circuit" else asset("live-plain.html"),
    }
    return filled(asset("live.html"), parts)
