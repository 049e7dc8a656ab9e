"""What a test of a circuit says: one number with its interval, the control's beside it, passed or not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sparsecircuits.validate.interval import Interval


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of one test, the same form for all of them.

    Attributes:
        test: its short name, such as ``T5``.
        estimate: what is judged; None where the test does not apply.
        interval: its 95% interval over other prompts, clustered by template.
        control: the same of something that should not pass, such as a random circuit of equal profile.
        passed: None where the test does not apply.
        figures: what else was measured, as plain data.
        settings: what was ablated, with what, where, how often and on which prompts, as plain data.
        note: why it does not apply, or what a reader should know.
        open: it does apply, but cannot be judged before something else is measured; the note says what.
    """

    test: str
    estimate: float | None
    passed: bool | None
    interval: Interval | None = None
    control: float | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    open: bool = False

    @classmethod
    def not_applicable(cls, test: str, why: str, **figures: Any) -> Self:
        """The test has nothing to say about this circuit."""
        return cls(test=test, estimate=None, passed=None, figures=figures, note=why)

    @property
    def word(self) -> str:
        """``pass``, ``FAIL``, ``open`` or ``n/a``."""
        return {True: "pass", False: "FAIL", None: "open" if self.open else "n/a"}[self.passed]

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; numbers that are not finite become None."""
        data = dataclasses.asdict(self)
        data["interval"] = None if self.interval is None else list(self.interval)
        return _plain(data)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` gave."""
        interval = data["interval"]
        return cls(**{**data, "interval": None if interval is None else Interval(*interval)})


#: Condition -> its value, and what that may be.
Parts = Mapping[str, tuple[float, float]]


def missed(*, most: Parts | None = None, least: Parts | None = None) -> str:
    """Which of a test's conditions are missed, in words: values that may be so much at most, or at least.

    >>> missed(most={"worst draw": (0.8, 0.69), "mean": (0.1, 0.3)}, least={"agreement": (0.9, 0.95)})
    'worst draw 0.8, above 0.69; agreement 0.9, below 0.95'
    """
    parts = [
        f"{name} {value:.3g}, above {to:.3g}" for name, (value, to) in (most or {}).items() if value > to
    ]
    parts += [
        f"{name} {value:.3g}, below {to:.3g}" for name, (value, to) in (least or {}).items() if value < to
    ]
    return "; ".join(parts)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
