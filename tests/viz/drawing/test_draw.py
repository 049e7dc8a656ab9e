"""The picture: nothing covers anything, it says what the path says, and is the same every time."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from sparsecircuits.viz.drawing import ActivePath
from sparsecircuits.viz.drawing.active_path import Rest
from sparsecircuits.viz.drawing.draw import draw_path, path_figure
from sparsecircuits.viz.drawing.pills import pill_of
from sparsecircuits.viz.drawing.place import place, through_heads
from sparsecircuits.viz.drawing.prompt import prompt_path
from sparsecircuits.viz.drawing.spots import Spot
from sparsecircuits.viz.drawing.tracks import wire
from sparsecircuits.viz.pen import signed
from tests.viz.drawing.conftest import Example, Planted

TASKS = (
    "single_double_quote",
    "bracket_counting",
    "set_or_string_fixedvarname",
    "for_while",
    "bracket_brace",
)


def path_of(example: Example, task: str, least: float = 0.04) -> ActivePath:
    circuit = example.circuits[task]
    return prompt_path(example.model, example.tokenizer, circuit, example.tasks[task], least=least)


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that cover one another, as drawn."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    boxes = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in figure.axes[0].texts]
    boxes = [(text, box) for text, box in boxes if text]
    return [
        (a, b)
        for (a, one), (b, other) in itertools.combinations(boxes, 2)
        if one.x0 < other.x1 - 1 and other.x0 < one.x1 - 1 and one.y0 < other.y1 - 1 and other.y0 < one.y1 - 1
    ]


@pytest.mark.parametrize("task", TASKS)
def test_no_text_covers_another_in_real_circuits(example: Example, task: str) -> None:
    figure = path_figure(path_of(example, task), example.tokenizer, title=task)
    assert overlaps(figure) == []
    width, height = figure.get_size_inches() * figure.dpi
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y0 >= 0
        assert box.y1 <= height


def test_no_text_covers_another_in_planted_circuits(quote: Planted, depth: Planted) -> None:
    tokenizer = quote.known.tokenizer
    names = dict.fromkeys(depth.circuit.nodes, "a name for it")
    for path in (quote.path("ab'cde", "'\""), depth.path("a[b[cd", "12"), depth.path("a[bcdef", "1")):
        assert overlaps(path_figure(path, tokenizer, names=names)) == []


def test_pills_stand_apart_in_rows_and_columns(example: Example) -> None:
    path = path_of(example, "set_or_string_fixedvarname")
    texts = ["x"] * len(path.tokens)
    placed = place(path, texts, ["a", "b"], {})
    assert [column.position for column in placed.columns] == path.positions
    for left, right in itertools.pairwise(placed.columns):
        assert right.left - left.right >= 44
    skipped = [(gap.first, gap.count) for gap in placed.gaps]
    assert sum(count for _, count in skipped) + len(path.positions) == len(path.tokens)
    heights = [row.y for row in placed.rows]
    assert heights == sorted(heights)
    keys = [row.key for row in placed.rows]
    assert (keys[0][1], keys[-1][1]) == ("in", "out")
    for one, other in itertools.combinations(placed.pills.values(), 2):
        apart_x = abs(one.x - other.x) >= (one.width + other.width) / 2 - 0.01
        assert apart_x or abs(one.y - other.y) >= (one.height + other.height) / 2
    for spot, pill in placed.pills.items():
        column = next(column for column in placed.columns if column.position == spot.position)
        assert column.left - 0.01 <= pill.x - pill.width / 2
        assert pill.x + pill.width / 2 <= column.right + 0.01


def test_values_travel_on_tracks_of_their_own(example: Example) -> None:
    path = path_of(example, "set_or_string_fixedvarname")
    placed = place(path, ["x"] * len(path.tokens), ["a", "b"], {})
    wiring = wire(path, placed)
    tracks = [line for line in wiring.lines if line.bent and not line.score]
    assert len(tracks) == len(through_heads(path)) > 3
    heights = [line.points[1][1] for line in tracks]
    assert min(abs(a - b) for a, b in itertools.combinations(heights, 2)) >= 24
    starts = {line.points[1][1]: line.points[0][0] for line in tracks}
    by_height = [starts[y] for y in sorted(starts, reverse=True)]
    assert by_height == sorted(by_height)  # the leftmost is highest
    assert len(wiring.lines) == len(path.hops) + sum(len(look.parts) for look in path.looks)
    assert len(wiring.labels) == len(wiring.lines)
    assert len(wiring.joints) == sum(line.score and line.bent for line in wiring.lines)


def test_it_says_what_the_path_says(quote: Planted) -> None:
    path = quote.path("ab'cde", "'\"")
    figure = path_figure(path, quote.known.tokenizer, title="quote $\\frac{$")
    said = words(figure)
    close = quote.known.channels["close"]
    numbers = {"+6.15", "+0.99 (att. 0.99)", "score +9.25"}
    assert {"quote $\\frac{$", "'  over  \"", str(close), *numbers} <= set(said)
    assert {"LAYER 0", "LAYER 1", "neurons", "tokens", "3 tokens", "2 tokens", "head"} <= set(said)
    assert f"probability {path.probability:.3f}" in said


@pytest.mark.parametrize("task", TASKS)
def test_lines_rest_and_constant_of_the_answer_make_up_its_lead(example: Example, task: str) -> None:
    path = path_of(example, task)
    answer = Spot("answer", len(path.tokens) - 1)
    lines = [hop.contribution for hop in path.hops if hop.target == answer]
    rest = path.left_out.get(answer, Rest(0, 0.0))
    assert sum(lines) + rest.contribution + path.constant == pytest.approx(path.lead, abs=1e-4)
    said = words(path_figure(path, example.tokenizer))
    told = {f"{rest.count} more: {signed(rest.contribution)}"} if rest.count else set()
    told |= {f"constant: {signed(path.constant)}", *map(signed, lines)}
    assert told <= set(said)
    shown = [signed(number) for number in (*lines, rest.contribution, path.constant)]
    # Each number is rounded to within 0.005.
    total = sum(float(number.replace("−", "-")) for number in shown)
    assert total == pytest.approx(path.lead, abs=0.005 * (len(shown) + 1))


def test_it_says_what_its_numbers_are(example: Example) -> None:
    said = " ".join(words(path_figure(path_of(example, "single_double_quote"), example.tokenizer)))
    assert "what its target would lose if this source alone were frozen at its mean" in said
    assert "tokens, positions, the bigram table, biases and heads’ means count whole" in said


def test_small_numbers_keep_two_digits(quote: Planted) -> None:
    path = quote.path("ab'cde", "'\"")
    (first, *others), end = path.hops, Spot("answer", 6)
    small = dataclasses.replace(first, contribution=-0.00042)
    changed = dataclasses.replace(
        path, hops=(small, *others), constant=0.00999, left_out={end: Rest(3, 0.004)}
    )
    said = set(words(path_figure(changed, quote.known.tokenizer)))
    assert {"−0.00042", "constant: +0.010", "3 more: +0.0040"} <= said
    spot = next(iter(path.values))
    pill = pill_of(spot, dataclasses.replace(path, means={spot: 0.0}, values={spot: 0.00123}), [], [], {})
    assert pill.details[0].startswith("0.00 → 0.0012")


def test_names_stand_in_place_of_indexes(quote: Planted) -> None:
    path = quote.path("ab'cde", "'\"")
    spot = next(spot for spot in path.values if spot.what.startswith("0.mlp.post_act"))
    assert spot.node is not None
    pill = pill_of(spot, path, [], [], {spot.node: "finds quotes, wherever they are"})
    assert pill.title == "finds quotes, wherever …"
    assert pill.details[0].startswith(f"{spot.node.index}: ")
    assert pill_of(spot, path, [], [], {}).title == str(spot.node.index)


def test_what_lowers_is_orange_and_dashed(example: Example) -> None:
    path = path_of(example, "single_double_quote")
    figure = path_figure(path, example.tokenizer)
    shapes = [p for p in figure.axes[0].patches if isinstance(p, PathPatch)]
    orange = [p for p in shapes if p.get_edgecolor()[:3] == (0xC2 / 255, 0x54 / 255, 0x0A / 255)]
    assert len(orange) == sum(hop.contribution < 0 for hop in path.hops) > 0
    assert all(p.get_linestyle() not in ("solid", "-") for p in orange)
    blue = [p for p in shapes if p.get_edgecolor()[:3] == (0x15 / 255, 0x65 / 255, 0xAD / 255)]
    assert len(blue) == sum(hop.contribution >= 0 for hop in path.hops)
    assert all(p.get_linestyle() in ("solid", "-") for p in blue)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_formats_and_the_same_file_every_time(quote: Planted, tmp_path: Path, ending: str) -> None:
    path = quote.path("ab'cde", "'\"")
    files = [tmp_path / "pictures" / f"{name}.{ending}" for name in "ab"]
    for file in files:
        draw_path(path, file, quote.known.tokenizer, scale=1)
    assert {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending] in files[0].read_bytes()[:60]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_circuit_without_nodes_shows_its_answer_alone(quote: Planted) -> None:
    empty = Planted(quote.known, quote.circuit.keeping([]))
    path = empty.path("ab'cde", "'\"")
    assert (path.hops, path.looks, path.positions) == ((), (), [6])
    figure = path_figure(path, quote.known.tokenizer)
    assert {"answer", "tokens", "6 tokens", "e", f"probability {path.probability:.3f}"} <= set(words(figure))
    assert overlaps(figure) == []
