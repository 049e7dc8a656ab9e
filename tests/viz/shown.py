"""What a browser must have done with a hostile text (:mod:`payloads`): shown it, and nothing else.

A test puts all of them into one place of a page, opens it, and says

>>> assert_shown(page, "#task option", PAYLOADS)     # doctest: +SKIP
>>> assert_nothing_foreign(page)                     # doctest: +SKIP

besides that there was no dialog, no request and no complaint. Both take a page or a frame of it, the server's
pages too, and look into shadow trees.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

#: A payload's text as an element holds it; <i> in a token is a sign for what is invisible (dom.js).
_TEXT = r"""
const unsigned = { "·": " ", "⏎": "\n", "⇥": "\t", "∅": "" };
function textOf(element) {
  if (element.nodeType === Node.TEXT_NODE) return element.data;
  if (element.localName === "i" && element.parentNode.classList.contains("tok")) {
    const sign = element.textContent;
    return unsigned[sign] ?? String.fromCodePoint(sign.codePointAt(0) - 0x2400);
  }
  return [...element.childNodes].map(textOf).join("");
}
"""
#: The document and every shadow tree in it.
_ROOTS = """
const rootsIn = (root) => [root, ...[...root.querySelectorAll("*")].flatMap((element) =>
  element.shadowRoot ? rootsIn(element.shadowRoot) : [])];
"""
_DIFFERENT = f"""([selector, wanted]) => {{
  {_ROOTS}{_TEXT}
  const found = rootsIn(document).flatMap((root) => [...root.querySelectorAll(selector)]).map(textOf);
  const texts = JSON.parse(wanted);
  const places = [...Array(Math.max(found.length, texts.length)).keys()];
  return places.filter((i) => found[i] !== texts[i]).map((i) => JSON.stringify([i, found[i], texts[i]]));
}}"""
_HARM = (
    f"() => {{ {_ROOTS}"
    + r"""
  const harm = window.broken === undefined ? [] : ["window.broken is set"];
  const loads = ["src", "srcset", "srcdoc", "action", "formaction", "data", "poster", "background", "ping"];
  const foreign = ["script", "style", "iframe", "frame", "object", "embed", "link", "meta", "base", "form",
    "img", "image", "video", "audio", "source", "math", "use"];
  const elements = rootsIn(document).flatMap((root) => [...(root.body ?? root).querySelectorAll("*")]);
  for (const element of elements) {
    const script = element.localName === "script" && element.parentNode === document.body;
    if (foreign.includes(element.localName) && !script) harm.push(`<${element.localName}>`);
    for (const { localName: name, value } of element.attributes) {
      if (/^on/i.test(name) || loads.includes(name)) harm.push(`<${element.localName} ${name}>`);
      if (name === "href" && !value.startsWith("#")) harm.push(`href=${value}`);
      if (name === "style" && /url|import/i.test(value)) harm.push(`style=${value}`);
    }
  }
  return harm;
}"""
)


def assert_shown(frame: Any, selector: str, texts: Sequence[str]) -> None:
    """The elements of ``selector`` hold these texts, one each, unit for unit."""
    # As ASCII, and compared over there: what is between here and the browser repairs lone surrogates.
    different = frame.evaluate(_DIFFERENT, [selector, json.dumps(list(texts))])
    assert not different, f"{selector}: place, shown, wanted: " + "\n".join(different)


def assert_nothing_foreign(frame: Any) -> None:
    """Nothing ran, and no element is there that could load, send or run anything."""
    harm = frame.evaluate(_HARM)
    assert not harm, ", ".join(harm)


def spoken(text: str) -> str:
    """A text whose underscores are shown as blanks (names of tasks)."""
    return text.replace("_", " ")


def in_html(text: str) -> str:
    """A text as HTML in UTF-8 holds it: without NUL or lone surrogates, every line ended alike.

    >>> in_html("a\\x00b\\r\\nc\\ud800")
    'ab\\nc?'
    """
    plain = text.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")
    return plain.encode("utf-8", "replace").decode("utf-8")
