"""Progress on stderr: bars on a terminal, a line now and then elsewhere.

``Progress`` is a context manager that holds any number of bars, so that two models that train side
by side have one each. A bar is told how far its job is, with the loss and the tokens seen so far if there are
any; it works out tokens/s and the time left from its first update on, so that what a resumed run had
done before counts towards neither.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_JSON_LINES = 0.25


class Bar:
    """One job's progress. Made by :meth:`Progress.add`."""

    def __init__(
        self,
        description: str,
        total: int | None,
        show: Callable[[Bar], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description = description
        self.total = total
        self.done = 0
        self.tokens = 0
        self.loss: float | None = None
        self.remark: str | None = None
        self.part: str | None = None
        self._show = show
        self._clock = clock
        self._began = clock()
        self._first: tuple[float, int, int] | None = None

    def update(
        self,
        done: int,
        *,
        loss: float | None = None,
        tokens: int | None = None,
        remark: str | None = None,
        part: str | None = None,
    ) -> None:
        """Say how far the job is.

        Args:
            done: units finished so far, of the total (not the increase).
            loss: the latest loss, nats per token; the one before stays if None.
            tokens: tokens seen so far (not the increase).
            remark: stands for the time left where nobody can know it, with the time so far.
            part: which part of the job this is about, such as one of several prunings.
        """
        self.done, self.remark, self.part = done, remark, part
        self.loss = self.loss if loss is None else loss
        self.tokens = self.tokens if tokens is None else tokens
        if self._first is None:
            self._first = (self._clock(), self.done, self.tokens)
        self._show(self)

    @property
    def finished(self) -> bool:
        """Whether everything is done; never, where the total is unknown."""
        return self.total is not None and self.done >= self.total

    @property
    def seconds(self) -> float:
        """Seconds since the bar was made."""
        return self._clock() - self._began

    @property
    def tokens_per_second(self) -> float | None:
        """Mean rate since the first update; None before there is one."""
        if self._first is None:
            return None
        start, _, tokens = self._first
        seconds = self._clock() - start
        return (self.tokens - tokens) / seconds if self.tokens > tokens and seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """At the mean pace since the first update; None before there is one."""
        if self._first is None or self.total is None:
            return None
        start, done, _ = self._first
        seconds = self._clock() - start
        if self.done <= done or seconds <= 0:
            return None
        return max(0, self.total - self.done) * seconds / (self.done - done)

    def to_dict(self) -> dict[str, str | float | None]:
        """How far the job is, as plain data."""
        return {
            "progress": self.description,
            "done": self.done,
            "total": self.total,
            "loss": self.loss,
            "remark": self.remark,
            "seconds": round(self.seconds, 2),
            "seconds_left": None if self.remark or self.seconds_left is None else round(self.seconds_left, 2),
        }

    def note(self) -> str:
        """Loss, rate and time in words, as far as known: ``loss 2.345  5,432 tokens/s  1:35 left``."""
        parts = [] if self.part is None or self.finished else [self.part]
        if self.loss is not None:
            parts.append(f"loss {self.loss:.3f}")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:,.0f} tokens/s")
        if self.finished:
            parts.append(f"{clock_time(self.seconds)} in all")
        elif self.remark is not None:
            parts += [self.remark, f"{clock_time(self.seconds)} so far"]
        elif self.seconds_left is not None:
            parts.append(f"{clock_time(self.seconds_left)} left")
        return "  ".join(parts)


class Progress:
    """Bars for as long as the ``with`` block lasts.

    >>> with Progress() as progress:
    ...     bar = progress.add("train", total=1050)
    ...     bar.update(1, loss=6.93, tokens=1024)
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        json: bool = False,
    ) -> None:
        """Begin with no bars.

        Args:
            console: where to; None: stderr.
            clock: seconds.
            json: for another program: a JSON object a line (:meth:`Bar.to_dict`), several a second.
        """
        self._console = console or Console(stderr=True, highlight=False)
        self._json = json
        self._clock = clock
        self._printed: dict[int, float] = {}
        self._stages: dict[str, Bar] = {}
        self._rich = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._json:
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._console.is_terminal and not self._json:
            self._rich.stop()

    def add(self, description: str, total: int | None = None) -> Bar:
        """Begin a bar.

        Args:
            description: the job in a few words.
            total: units of the whole job, those of a resumed run's earlier part included; None if unknown.
        """
        task = self._rich.add_task(description, total=total, note="")

        def show(bar: Bar) -> None:
            if self._json:
                self._print_now_and_then(task, bar)
            elif self._console.is_terminal:
                self._rich.update(task, completed=bar.done, total=bar.total, note=bar.note())
            else:
                self._print_now_and_then(task, bar)

        return Bar(description, total, show, self._clock)

    def stage(self, name: str, done: int, total: int | None = None) -> None:
        """Say how far the stage ``name`` is; its bar begins with the first word of it.

        A bound ``progress.stage`` is the plain callable that building a corpus takes. The stage called tokens
        counts tokens: its bar shows how many a second.
        """
        if name not in self._stages:
            self._stages[name] = self.add(name, total)
        if total is not None:  # less than was thought, where the sources have no more
            self._stages[name].total = total
        self._stages[name].update(done, tokens=done if name == "tokens" else None)

    def _print_now_and_then(self, task: int, bar: Bar) -> None:
        now, last = self._clock(), self._printed.get(task)
        seldom = SECONDS_BETWEEN_JSON_LINES if self._json else SECONDS_BETWEEN_LINES
        if last is not None and now - last < seldom and not bar.finished:
            return
        self._printed[task] = now
        if self._json:
            self._console.file.write(json.dumps(bar.to_dict()) + "\n")
            self._console.file.flush()
            return
        share = f"/{bar.total} ({bar.done / bar.total:.0%})" if bar.total else ""
        line = f"{bar.description}  {bar.done}{share}  {bar.note()}"
        self._console.print(Text(line.rstrip()), soft_wrap=True)


def clock_time(seconds: float) -> str:
    """Whole seconds as ``m:ss`` or ``h:mm:ss``.

    >>> clock_time(95), clock_time(3725)
    ('1:35', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
