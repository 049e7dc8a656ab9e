"""The projection of matrices whose rows lie on several processes: the same bits as of the whole ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sparsecircuits.errors import ConfigError
from sparsecircuits.ops import keep_largest_, native
from sparsecircuits.ops.sharded import Part, keep_largest_together_
from tests.ops.sharded_jobs import Case, projected
from tests.processes import Processes


def bits(tensor: Tensor) -> list[int]:
    return tensor.flatten().view(torch.int32).tolist()


def ties(rows: int, columns: int, levels: int, seed: int) -> Tensor:
    """Values from a few levels, of both signs, 0 and -0.0 among them: nearly every entry has its equals."""
    generator = torch.Generator().manual_seed(seed)
    value = torch.randint(0, levels, (rows, columns), generator=generator).float()
    sign = torch.randint(0, 2, (rows, columns), generator=generator) * 2 - 1
    return value * sign


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def cases() -> dict[str, Case]:
    special = normal(6, 8)
    special[1, 2], special[4, 0], special[0, 0], special[5, 7] = torch.nan, torch.inf, -torch.nan, -torch.inf
    tiny = normal(6, 8) * 1e-42
    found = {
        "one row more than another": Case(normal(7, 5), 11),
        "fewer rows than processes": Case(normal(1, 40), 11),
        "a vector": Case(normal(13), 4),
        "a vector of equals": Case(torch.ones(13), 7),
        "none": Case(normal(7, 5), 0),
        "all": Case(torch.full((7, 5), -0.0), 35),
        "more than all": Case(normal(7, 5), 99),
        "all but one": Case(normal(7, 5), 34),
        "only zeros of both signs": Case(torch.tensor([[0.0, -0.0], [-0.0, 0.0], [0.0, 0.0]]), 3),
        "fewer that are nonzero than may stay": Case(ties(9, 6, 2, 1), 50),
        "NaN and infinity": Case(special, 3),
        "NaN alone": Case(special, 1),
        "denormals": Case(tiny, 20),
        "rows of equals under a floor": Case(torch.ones(7, 5), 20, 2, 1),
        "columns of equals under a floor": Case(torch.ones(7, 5), 20, 2, 0),
        "just the floor, rows": Case(normal(7, 5), 14, 2, 1),
        "just the floor, columns": Case(normal(7, 5), 10, 2, 0),
        "a floor above the rows here": Case(normal(7, 6), 36, 5, 0),
        "the axis from behind": Case(ties(8, 6, 4, 2), 20, 2, -2),
    }
    for seed in range(12):
        whole = ties(8 + seed, 6, 3 + seed % 4, seed)
        found[f"ties {seed}"] = Case(whole, 5 * seed)
        found[f"ties {seed}, rows' floor"] = Case(whole, 2 * len(whole) + seed, 2, 1)
        found[f"ties {seed}, columns' floor"] = Case(whole, 3 * 6 + 2 * seed, 3, 0)
    return found


@pytest.mark.parametrize("count", [2, 3])
def test_the_same_bits_as_whole(processes: Processes, count: int):
    asked = cases()
    found = processes.run(count, projected, list(asked.values()))
    for kernels in (native.kernels(), native.OFF):
        for index, (name, case) in enumerate(asked.items()):
            with native.using(kernels):
                right = keep_largest_(case.whole.clone(), case.k, floor=case.floor, axis=case.axis)
            assert bits(torch.cat([rows[index] for rows in found])) == bits(right), (name, kernels)


def test_a_large_matrix_keeps_exactly_k(processes: Processes):
    whole = normal(301, 64)
    rows = torch.cat([one[0] for one in processes.run(3, projected, [Case(whole, 700, 2, 1)])])
    assert rows.count_nonzero() == 700
    assert rows.count_nonzero(dim=1).min() == 2
    assert bits(rows) == bits(keep_largest_(whole.clone(), 700, floor=2, axis=1))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Part(torch.ones(2, 3), (4, 3), -1), "cannot keep -1 weights"),
        (Part(torch.ones(2), (4,), 2, 1), "a floor needs a matrix"),
        (Part(torch.ones(2, 3), (4, 3), 5, 2, 1), "may keep 5 weights, but 4 neurons .* need 8"),
        (Part(torch.ones(2, 3), (4, 3), 5, 2, 0), "may keep 5 weights, but 3 neurons .* need 6"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(part: Part, message: str):
    with pytest.raises(ConfigError, match=message):
        keep_largest_together_([part])
