"""The projection: exact counts on 3 x 4 matrices with ties and floors, and kernels bit for bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from sparsecircuits.errors import ConfigError
from sparsecircuits.ops import keep_largest_
from sparsecircuits.ops.projection import check_floor, definition_
from tests.ops.compare import FEW_EXAMPLES, KINDS, assert_same_bits, numbers, threads

pytestmark = pytest.mark.usefixtures("kernel")

MATRIX = [
    [9.0, -8.0, 7.0, 6.0],
    [1.0, 0.2, -0.3, 0.4],
    [-5.0, 0.5, 0.6, -0.7],
]


def matrix() -> torch.Tensor:
    return torch.tensor(MATRIX)


def test_keeps_the_largest_in_place():
    weight = matrix()
    assert keep_largest_(weight, 5) is weight
    assert weight.tolist() == [[9.0, -8.0, 7.0, 6.0], [0.0] * 4, [-5.0, 0.0, 0.0, 0.0]]


def test_a_floor_along_rows_protects_each_row():
    # One entry of each row first (9, 1, -5), the other two places to the largest of the rest (-8, 7).
    expected = [[9.0, -8.0, 7.0, 0.0], [1.0, 0.0, 0.0, 0.0], [-5.0, 0.0, 0.0, 0.0]]
    assert keep_largest_(matrix(), 5, floor=1, axis=1).tolist() == expected
    assert keep_largest_(matrix(), 5, floor=1, axis=-1).tolist() == expected


def test_a_floor_along_columns_protects_each_column():
    # Two entries of each column: 9 -5, -8 0.5, 7 0.6, 6 -0.7. The ninth place: 1, the largest of the rest.
    expected = [[9.0, -8.0, 7.0, 6.0], [1.0, 0.0, 0.0, 0.0], [-5.0, 0.5, 0.6, torch.tensor(-0.7).item()]]
    got = keep_largest_(matrix(), 9, floor=2, axis=0).tolist()
    assert got == [expected[0], expected[1], torch.tensor(expected[2]).tolist()]


@pytest.mark.parametrize(("k", "floor", "axis"), [(3, 1, 1), (6, 2, 1), (4, 1, 0), (8, 2, 0)])
def test_a_budget_of_just_the_floor_gives_each_neuron_just_that(k: int, floor: int, axis: int):
    kept = keep_largest_(matrix(), k, floor=floor, axis=axis) != 0
    assert kept.sum(axis).tolist() == [floor] * (3 if axis == 1 else 4)


@pytest.mark.parametrize("k", range(13))
def test_counts_are_exact_among_equal_magnitudes(k: int):
    weight = torch.tensor([[1.0, -1.0, 1.0, 1.0]] * 3)
    keep_largest_(weight, k)
    assert (weight != 0).flatten().tolist() == [True] * k + [False] * (12 - k)  # the lowest indices


def test_ties_across_the_floor_and_the_rest():
    weight = torch.ones(3, 4)
    # Rows first keep their first two; the one place left goes to the lowest index that is still free.
    keep_largest_(weight, 7, floor=2, axis=1)
    assert weight.tolist() == [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("k", [12, 13, 1000])
def test_a_budget_of_everything_changes_nothing(k: int):
    assert keep_largest_(matrix(), k, floor=4, axis=1).tolist() == matrix().tolist()


def test_a_vector_and_a_view_are_changed_in_place():
    assert keep_largest_(torch.tensor([1.0, -3.0, 2.0]), 2).tolist() == [0.0, -3.0, 2.0]
    whole = torch.ones(4, 3)
    keep_largest_(whole.T, 2)
    assert whole.tolist() == [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0] * 3, [0.0] * 3]


def test_parameters_are_projected_without_a_graph():
    weight = torch.nn.Parameter(matrix())
    keep_largest_(weight, 1)
    assert weight.grad_fn is None
    assert weight.count_nonzero() == 1


def test_a_negative_budget_is_an_error():
    with pytest.raises(ConfigError, match="-1 weights"):
        keep_largest_(matrix(), -1)


@pytest.mark.parametrize(
    ("k", "axis", "needed"), [(5, 1, "3 neurons with at least 2 each need 6"), (0, 0, "4 neurons .* need 8")]
)
def test_a_budget_below_the_floor_is_an_error_with_both_counts(k: int, axis: int, needed: str):
    weight = matrix()
    with pytest.raises(ConfigError, match=f"may keep {k} weights, but {needed}"):
        keep_largest_(weight, k, floor=2, axis=axis)
    assert weight.tolist() == matrix().tolist()


def test_a_floor_needs_a_matrix():
    with pytest.raises(ConfigError, match=r"shape \(3,\)"):
        keep_largest_(torch.ones(3), 2, floor=1)


def test_the_error_names_a_density_that_is_enough():
    # Four of a row's 128 weights: 4/128 = 1/32 = 0.03125 of the matrix is the least.
    check_floor((384, 128), 384 * 4, 4, 1)
    with pytest.raises(ConfigError, match=r"384 x 128 may keep 1535 .* need 1536: .* density to 0\.03125 "):
        check_floor((384, 128), 1535, 4, 1)
    # 4/96 = 0.041666...: rounded up, so that it is enough.
    with pytest.raises(ConfigError, match=r"density to 0\.041667 "):
        check_floor((10, 96), 39, 4, 1)
    # Along the columns it is the height that counts.
    check_floor((128, 512), 512 * 4, 4, 0)
    with pytest.raises(ConfigError, match="512 neurons with at least 4 each need 2048"):
        check_floor((128, 512), 2047, 4, 0)


def test_a_floor_above_the_width_asks_for_the_whole_width():
    check_floor((3, 2), 6, 4, 1)
    with pytest.raises(ConfigError, match="need 6"):
        check_floor((3, 2), 5, 4, 1)


def naive(rows: list[list[float]], k: int, floor: int, axis: int) -> list[list[float]]:
    """Protect each neuron's largest, then fill up from the rest: the definition, in plain Python."""
    height, width = len(rows), len(rows[0])

    def rank(place: tuple[int, int]) -> tuple[float, int]:
        return -abs(rows[place[0]][place[1]]), place[0] * width + place[1]

    lines = [[(i, j) for j in range(width)] for i in range(height)]
    if axis == 0:
        lines = [[(i, j) for i in range(height)] for j in range(width)]
    kept = {place for line in lines for place in sorted(line, key=rank)[:floor]}
    rest = sorted((place for line in lines for place in line if place not in kept), key=rank)
    kept |= set(rest[: k - len(kept)])
    return [[x if (i, j) in kept else 0.0 for j, x in enumerate(row)] for i, row in enumerate(rows)]


MAGNITUDES = st.sampled_from([0.0, 1.0, -1.0, 2.0, -2.0]) | st.floats(-8, 8, width=32)


@FEW_EXAMPLES
@given(
    st.lists(st.lists(MAGNITUDES, min_size=4, max_size=4), min_size=3, max_size=3),
    st.integers(0, 2),
    st.sampled_from([0, 1]),
    st.data(),
)
def test_equals_the_naive_reference(rows: list[list[float]], floor: int, axis: int, data: st.DataObject):
    k = data.draw(st.integers(floor * (3 if axis == 1 else 4), 12))
    weight = torch.tensor(rows, dtype=torch.float32)
    keep_largest_(weight, k, floor=floor, axis=axis)
    assert weight.tolist() == naive(rows, k, floor, axis)


@FEW_EXAMPLES
@given(
    st.sampled_from(sorted(KINDS)),
    st.sampled_from([(1, 600), (600, 1), (17, 33), (64, 64), (300, 500), (1024, 256)]),
    st.integers(0, 5),
    st.sampled_from([0, 1]),
    st.sampled_from([1, 2]),
    st.data(),
)
def test_kernels_equal_the_definition_bit_for_bit(
    kind: str, shape: tuple[int, int], floor: int, axis: int, cores: int, data: st.DataObject
):
    entries = shape[0] * shape[1]
    needed = shape[1 - axis] * min(floor, shape[axis])
    least = max(needed, 1)  # so that the floor takes all of it
    assume(least < entries)
    k = data.draw(st.sampled_from([least, max(least, entries // 100)]) | st.integers(least, entries - 1))
    weight = numbers(kind, shape)
    expected = definition_(weight.clone(), k, floor, axis)
    with threads(cores):
        keep_largest_(weight, k, floor=floor, axis=axis)
    assert_same_bits(weight, expected)


def test_a_kept_minus_zero_becomes_zero():
    weight = torch.tensor([[3.0, -0.0], [-0.0, 0.0]])
    keep_largest_(weight, 3)
    assert not weight.signbit().any()


def test_a_changed_weight_has_another_version():
    weight = matrix()
    before = weight._version
    keep_largest_(weight, 5)
    assert weight._version > before
