"""Lines of ``metrics.jsonl``: strict JSON, in which NaN and infinity are the words nan, inf and -inf.

A line with ``event`` says what happened to the run; every other line has the figures of a step.

>>> json_line({"step": 3, "loss": math.nan})
'{"step": 3, "loss": "nan"}'
>>> read_line('{"step": 3, "loss": "nan"}')
{'step': 3, 'loss': nan}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def json_line(row: Mapping[str, Any]) -> str:
    """One line of strict JSON."""
    return json.dumps(_told(row), allow_nan=False)


def read_line(line: str) -> dict[str, Any]:
    """The inverse of :func:`json_line`."""
    row = json.loads(line)
    return {key: _WORDS.get(value, value) if isinstance(value, str) else value for key, value in row.items()}


def _told(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _told(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_told(item) for item in value]
    return value
