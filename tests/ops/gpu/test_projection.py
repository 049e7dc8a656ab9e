"""The projection of many matrices in a few launches equals the definition of each matrix bit for bit."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.ops import gpu, keep_largest_, keep_largest_all_
from sparsecircuits.ops.projection import definition_
from sparsecircuits.train.projection import project, sparse_matrices
from sparsecircuits.train.schedules import Densities
from tests.ops.compare import KINDS, assert_same_bits, numbers

pytest.importorskip("triton")

import triton  # noqa: E402
import triton.language as tl  # noqa: E402

from sparsecircuits.ops.gpu import projection, projection_kernels  # noqa: E402


class Case(NamedTuple):
    shape: tuple[int, int]
    k: int
    floor: int = 0
    axis: int = 1


#: Floors along both axes, with room beside them and without; 2100 entries are more than one chunk.
SMALL = [
    Case((5, 7), 9),
    Case((9, 33), 60, 4, 1),
    Case((33, 9), 60, 4, 0),
    Case((9, 33), 27, 3, 1),
    Case((30, 70), 210, 3, 0),
    Case((3, 700), 2099),
    Case((700, 3), 1500, 1, 1),
    Case((1, 2), 1),
]


def project_all(weights: list[Tensor], cases: list[Case]) -> None:
    keep_largest_all_(weights, [c.k for c in cases], [c.floor for c in cases], [c.axis for c in cases])


def check(kinds: list[str], device: torch.device) -> None:
    """Matrices of numbers of these kinds, all projected at once."""
    weights = [
        numbers(kind, case.shape, seed).to(device)
        for seed, (kind, case) in enumerate(zip(kinds, SMALL, strict=True))
    ]
    expected = [
        definition_(weight.clone(), case.k, case.floor, case.axis)
        for weight, case in zip(weights, SMALL, strict=True)
    ]
    project_all(weights, SMALL)
    for got, right in zip(weights, expected, strict=True):
        assert_same_bits(got, right)


@pytest.mark.parametrize("shift", range(4))
def test_equals_the_definition_bit_for_bit(device: torch.device, shift: int):
    """Each shape with four kinds of numbers, each kind in at least two shapes."""
    check([list(KINDS)[(3 * shift + index) % len(KINDS)] for index in range(len(SMALL))], device)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_shape(device: torch.device, kind: str):
    check([kind] * len(SMALL), device)


MATRIX = [[9.0, -8.0, 7.0, 6.0], [1.0, 0.2, -0.3, 0.4], [-5.0, 0.5, 0.6, -0.7]]


def test_three_budgets_by_hand_at_once(device: torch.device):
    plain, rows, columns = (torch.tensor(MATRIX, device=device) for _ in range(3))
    project_all([plain, rows, columns], [Case((3, 4), 5), Case((3, 4), 5, 1, 1), Case((3, 4), 4, 1, 0)])
    assert plain.tolist() == [[9.0, -8.0, 7.0, 6.0], [0.0] * 4, [-5.0, 0.0, 0.0, 0.0]]
    # One entry of each row first (9, 1, -5), the other two places to the largest of the rest (-8, 7).
    assert rows.tolist() == [[9.0, -8.0, 7.0, 0.0], [1.0, 0.0, 0.0, 0.0], [-5.0, 0.0, 0.0, 0.0]]
    # The largest of each column, and no more.
    assert columns.tolist() == [[9.0, -8.0, 7.0, 6.0], [0.0] * 4, [0.0] * 4]


def test_ties_across_chunks_go_to_the_lowest_flat_index(device: torch.device):
    """Chunks are of 2048 entries; 2, then 1 in all others: the 2 and the first 4999 ones stay."""
    weights = [torch.ones(3, 2500, device=device) for _ in range(2)]
    for weight in weights:
        weight[2, -1] = -2
    keep_largest_all_(weights, [5000, 3], [0, 0], [1, 1])
    assert weights[0].flatten().nonzero()[:, 0].tolist() == [*range(4999), 7499]
    assert weights[1].flatten().nonzero()[:, 0].tolist() == [0, 1, 7499]


def test_ties_across_the_floor_and_the_rest(device: torch.device):
    # Rows first keep their first two; the one place left goes to the lowest index that is still free.
    weight = keep_largest_(torch.ones(3, 4, device=device), 7, floor=2, axis=1)
    assert weight.tolist() == [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]


def test_budgets_of_nothing_and_of_everything(device: torch.device):
    weights = [torch.tensor(MATRIX, device=device) for _ in range(3)]
    got = keep_largest_all_(weights, [0, 12, 100], [0, 2, 0], [1, 0, 1])
    assert all(mine is given for mine, given in zip(got, weights, strict=True))
    assert weights[0].tolist() == [[0.0] * 4] * 3
    assert all(torch.equal(weight.cpu(), torch.tensor(MATRIX)) for weight in weights[1:])
    assert keep_largest_all_([], [], [], []) == []


def test_an_error_comes_before_any_weight_is_changed(device: torch.device):
    weights = [torch.tensor(MATRIX, device=device) for _ in range(2)]
    with pytest.raises(ConfigError, match="may keep 5 weights, but 3 neurons with at least 2 each need 6"):
        keep_largest_all_(weights, [1, 5], [0, 2], [1, 1])
    with pytest.raises(ConfigError, match="-1 weights"):
        keep_largest_all_(weights, [1, -1], [0, 0], [1, 1])
    assert all(torch.equal(weight.cpu(), torch.tensor(MATRIX)) for weight in weights)


def test_what_the_kernels_do_not_take_is_projected_beside_them(device: torch.device):
    double = torch.tensor(MATRIX, dtype=torch.float64, device=device)
    turned = torch.tensor(MATRIX, device=device).T
    off = torch.cat([torch.zeros(1), torch.tensor(MATRIX).flatten()]).to(device)[1:].view(3, 4)
    whole = torch.tensor(MATRIX, device=device)
    assert not any(projection.takes_matrix(weight, 0, 1) for weight in (turned, off))
    keep_largest_all_([double, turned, off, whole], [2] * 4, [0] * 4, [1] * 4)
    expected = [[9.0, -8.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4]
    assert [weight.tolist() for weight in (double, turned.T, off, whole)] == [expected] * 4


def test_a_neuron_may_be_so_long_and_a_row_so_wide(device: torch.device):
    assert projection.takes_matrix(torch.empty(8192, 1, device=device), 1, 0)
    assert not projection.takes_matrix(torch.empty(8193, 1, device=device), 1, 0)
    assert projection.takes_matrix(torch.empty(1, 2**20 - 1, device=device), 1, 0)
    assert not projection.takes_matrix(torch.empty(1, 2**20, device=device), 1, 0)
    assert projection.takes_matrix(torch.empty(1, 2**20, device=device), 0, 0)


@triton.jit
def _rows(place, columns, out):
    at = tl.arange(0, 8192)
    tl.store(out + at, projection_kernels.row_of(tl.load(place + at), tl.load(columns)))


@pytest.mark.parametrize("columns", [1, 3, 41, 61, 97, 1000, 699051, 2**20 - 1])
def test_a_row_is_found_without_a_division(device: torch.device, columns: int):
    """Where a row begins and ends, and 4000 places in between, below 2^21."""
    starts = torch.arange(0, 2**21, columns)
    edges = torch.cat([starts, starts[1:] - 1])
    edges = edges[torch.linspace(0, len(edges) - 1, 4192).long()]
    between = torch.randint(0, 2**21, (4000,), generator=torch.Generator().manual_seed(0))
    place = torch.cat([edges, between]).to(device, torch.int32)
    out = torch.empty_like(place)
    gpu.launch(_rows, (1,), place, torch.tensor([columns], device=device), out, warps=4)
    assert torch.equal(out.long(), place.long() // columns)


class Recorded(TorchDispatchMode):
    """The operations of torch that run meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.name().removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


def test_nothing_is_read_back_and_the_launches_do_not_grow(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
):
    """Of the weights no number becomes Python's, so that the program never waits for the GPU."""
    cases = SMALL[:3]
    weights = [numbers("normal", case.shape).to(device) for case in cases]
    project_all(weights, cases)  # fills what is the same in every step
    launched: list[str] = []
    launches: list[list[str]] = []

    def note(kernel: Any, grid: tuple[int, ...], *arguments: Any, **settings: Any) -> None:
        assert all(isinstance(argument, Tensor | int) for argument in (*grid, *arguments))
        launched.append(kernel.fn.__name__)

    def refuse(*_: Any) -> None:
        raise AssertionError("a number was read")

    monkeypatch.setattr(projection, "launch", note)
    readers: tuple[str, ...] = (
        "item",
        "tolist",
        "numpy",
        "cpu",
        "__bool__",
        "__int__",
        "__float__",
        "__index__",
    )
    for name in readers:
        monkeypatch.setattr(Tensor, name, refuse)
    for several in (cases, cases * 20):
        with Recorded() as recorded:
            project_all([weights[cases.index(case)] for case in several], several)
        assert recorded.names <= {"empty.memory_format", "zeros", "cumsum", "slice.Tensor", "detach", *COPIES}
        launches.append(launched[:])
        launched.clear()
    rounds = ["count_exponents", "pick", "count", "pick", "count", "pick"]
    assert launches == [["protect", "protect", *rounds, "count_ties", "apply"]] * 2


#: The table of the matrices, and for new matrices what is noted of their chunks, to the GPU.
COPIES = {"_to_copy", "lift_fresh", "to.device", "repeat_interleave"}


def test_a_model_is_projected_as_by_the_definitions(device: torch.device):
    config = GPTConfig(vocab_size=40, n_layer=2, d_model=16, n_ctx=8, positions="learned")
    models = [SparseGPT(config) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    densities = Densities(0.3, 0.1)
    for model, kernels in zip(models, gpu.available(), strict=True):
        model.to(device)
        matrices = sparse_matrices(model, floor=2)
        with gpu.using(kernels):
            project(matrices, densities)
        assert all(m.weight.count_nonzero() == m.budget(densities) for m in matrices)
    for (name, ours), theirs in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_torch_knows_that_the_weights_changed(device: torch.device):
    weight = torch.tensor(MATRIX, device=device, requires_grad=True)
    product = (weight * weight).sum()
    keep_largest_(weight, 2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()
