"""What the tests of the kernels share: numbers of every kind, equality bit for bit, a number of threads."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

#: One instruction set is chosen for all examples of a test.
FEW_EXAMPLES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
#: On both sides of the kernels' steps of 8, 16, 64 and 512.
WIDTHS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 100, 129, 255, 300, 511, 512, 513, 600)

Shape = tuple[int, int]


def _special(shape: Shape, g: torch.Generator) -> Tensor:
    return torch.tensor([torch.nan, torch.inf, -torch.inf, 3.0, -1.0])[
        torch.randint(0, 5, shape, generator=g)
    ]


def _one_row(shape: Shape, g: torch.Generator) -> Tensor:
    x = torch.zeros(shape)
    x[shape[0] // 2] = torch.randn(shape[1], generator=g)
    return x


KINDS: dict[str, Callable[[Shape, torch.Generator], Tensor]] = {
    "normal": lambda shape, g: torch.randn(shape, generator=g),
    "ties and zeros": lambda shape, g: torch.tensor([0.0, -0.0, 1.0, -1.0, 2.0, 0.5])[
        torch.randint(0, 6, shape, generator=g)
    ],
    "denormals": lambda shape, g: torch.randn(shape, generator=g) * 1e-42,
    "NaN and infinity": _special,
    "largest beside infinity": lambda shape, g: torch.tensor(
        [torch.finfo(torch.float32).max, torch.inf, 1.0]
    )[torch.randint(0, 3, shape, generator=g)],
    "zeros": lambda shape, g: torch.zeros(shape),
    "constant": lambda shape, g: torch.full(shape, -1.5),
    "heavy tails": lambda shape, g: torch.randn(shape, generator=g) / torch.rand(shape, generator=g) ** 4,
    "mostly zero": lambda shape, g: (
        torch.randn(shape, generator=g) * (torch.rand(shape, generator=g) < 0.02)  # -0.0 too
    ),
    "all in one row": _one_row,
}


def numbers(kind: str, shape: Shape, seed: int = 0) -> Tensor:
    return KINDS[kind](shape, torch.Generator().manual_seed(seed))


def bits(x: Tensor) -> Tensor:
    """As integers, every NaN the same one."""
    integer = {2: torch.int16, 4: torch.int32}[x.element_size()]
    return x.masked_fill(x.isnan(), torch.nan).contiguous().view(integer)


def assert_same_bits(got: Tensor, expected: Tensor) -> None:
    assert got.dtype == expected.dtype
    torch.testing.assert_close(bits(got), bits(expected), atol=0, rtol=0)


def doubled(*tensors: Tensor) -> list[Tensor]:
    """The same leaves in float64."""
    return [x.detach().double().requires_grad_(x.requires_grad) for x in tensors]


@contextmanager
def threads(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
