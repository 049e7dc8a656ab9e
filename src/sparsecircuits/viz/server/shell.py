"""The server's pages: a shell of HTML, one script, one style, all of them fixed.

A shell holds no text of a run's: only keys, which are plain, and the session's token. Everything else is
fetched by the script and shown as text.
"""

from __future__ import annotations

import functools
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
