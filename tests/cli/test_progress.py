"""Bars: rates that can be worked out by hand, lines for logs, no failure on a terminal."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from sparsecircuits.cli.progress import Bar, Progress, clock_time


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def plain(clock: Clock) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    return Progress(Console(file=out, force_terminal=False), clock=clock), out


def make_bar(clock: Clock, total: int | None = 100) -> Bar:
    return Bar("train", total, lambda bar: None, clock)


def test_rate_and_time_left() -> None:
    clock = Clock()
    bar = make_bar(clock)
    bar.update(0, tokens=0)
    clock.now += 5
    bar.update(20, loss=2.5, tokens=10_000)
    assert bar.tokens_per_second == 2_000  # 10,000 tokens in 5 s
    assert bar.seconds_left == 20  # 80 to go at 4 a second
    assert bar.note() == "loss 2.500  2,000 tokens/s  0:20 left"


def test_a_remark_stands_for_the_time_left_until_the_next_update() -> None:
    clock = Clock()
    bar = make_bar(clock)
    bar.update(0)
    clock.now += 5
    bar.update(99, loss=0.1, remark="choosing: 12 nodes")
    assert bar.note() == "loss 0.100  choosing: 12 nodes  0:05 so far"
    bar.update(99)
    assert "left" in bar.note()
    bar.update(100, remark="choosing")
    assert bar.note() == "loss 0.100  0:05 in all"


def test_a_part_of_the_job_is_named_until_all_is_done() -> None:
    clock = Clock()
    bar = make_bar(clock)
    bar.update(0)
    clock.now += 5
    bar.update(50, loss=0.2, part="nonsense-wrong-0")
    assert bar.note() == "nonsense-wrong-0  loss 0.200  0:05 left"
    bar.update(99, part="real", remark="choosing: 3 nodes")
    assert bar.note() == "real  loss 0.200  choosing: 3 nodes  0:05 so far"
    bar.update(100, part="real")
    assert bar.note() == "loss 0.200  0:05 in all"


def test_what_a_resumed_run_had_done_does_not_count() -> None:
    clock = Clock()
    bar = make_bar(clock)
    clock.now += 60  # loading the checkpoint
    bar.update(50, tokens=50_000)
    assert (bar.tokens_per_second, bar.seconds_left) == (None, None)
    clock.now += 10
    bar.update(60, tokens=60_000)
    assert bar.tokens_per_second == 1_000
    assert bar.seconds_left == 40


def test_an_update_without_loss_keeps_the_last() -> None:
    bar = make_bar(Clock())
    bar.update(1, loss=3.0)
    bar.update(2)
    assert bar.note() == "loss 3.000"


def test_unknown_total_has_no_time_left() -> None:
    clock = Clock()
    bar = make_bar(clock, total=None)
    bar.update(0)
    clock.now += 1
    bar.update(10)
    assert bar.note() == ""
    assert not bar.finished


def test_lines_at_most_every_ten_seconds_and_at_the_end() -> None:
    clock = Clock()
    progress, out = plain(clock)
    with progress:
        bar = progress.add("train [sparse]", total=40)
        for done in range(41):  # one unit every half second: 20 s
            bar.update(done, loss=2.0)
            clock.now += 0.5
    assert out.getvalue().splitlines() == [
        "train [sparse]  0/40 (0%)  loss 2.000",
        "train [sparse]  20/40 (50%)  loss 2.000  0:10 left",
        "train [sparse]  40/40 (100%)  loss 2.000  0:20 in all",
    ]


def test_bars_side_by_side_have_their_own_lines() -> None:
    progress, out = plain(Clock())
    with progress:
        progress.add("sparse", total=4).update(1)
        progress.add("dense", total=4).update(2)
    assert out.getvalue().splitlines() == ["sparse  1/4 (25%)", "dense  2/4 (50%)"]


def test_stages_make_their_own_bars() -> None:
    progress, out = plain(Clock())
    with progress:
        progress.stage("tokenizer", 0, 2)
        progress.stage("tokenizer", 2, 2)
        progress.stage("tokens", 5)
    assert out.getvalue().splitlines() == [
        "tokenizer  0/2 (0%)",
        "tokenizer  2/2 (100%)  0:00 in all",
        "tokens  5",
    ]


def test_a_stage_that_ends_before_its_total_is_done_all_the_same() -> None:
    progress, out = plain(Clock())
    with progress:
        progress.stage("tokens", 5, 100)
        progress.stage("tokens", 20, 100)  # too soon for a line
        progress.stage("tokens", 20, 20)
    assert out.getvalue().splitlines() == ["tokens  5/100 (5%)", "tokens  20/20 (100%)  0:00 in all"]


def test_a_terminal_shows_the_description_and_the_count() -> None:
    out = io.StringIO()
    with Progress(Console(file=out, force_terminal=True, width=100, _environ={})) as progress:
        progress.add("train [sparse]", total=4).update(4, loss=2.0)
    assert "train [sparse]" in out.getvalue()
    assert "4/4" in out.getvalue()
    assert "loss 2.000" in out.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (95, "1:35"), (3725, "1:02:05")])
def test_clock_time(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text


@pytest.mark.parametrize("terminal", [False, True])
def test_as_json_each_line_is_an_object_whatever_reads_it(terminal: bool) -> None:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=terminal)
    with Progress(console, clock=clock, json=True) as progress:
        bar = progress.add("prune closes", total=100)
        bar.update(0)
        clock.now += 0.1
        bar.update(1, loss=0.7)  # too soon after the first
        clock.now += 4.9
        bar.update(20, loss=0.5)
        clock.now += 5
        bar.update(40, remark="choosing: 9 nodes")
    first, second, third = map(json.loads, out.getvalue().splitlines())
    assert (first["done"], first["loss"], first["seconds_left"]) == (0, None, None)
    assert second == {
        "progress": "prune closes",
        "done": 20,
        "total": 100,
        "loss": 0.5,
        "remark": None,
        "seconds": 5.0,
        "seconds_left": 20.0,
    }
    assert (third["remark"], third["seconds_left"]) == ("choosing: 9 nodes", None)
