"""Adam and the gradients' RMS: the same bits wherever a matrix is cut."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparsecircuits.train.adam import Adam
from sparsecircuits.train.optimizer import _row_squares, gradient_rms


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stepped(parts: list[Tensor], steps: int = 4) -> list[Tensor]:
    """Weights and both moments after some steps with the same gradients, however they are cut."""
    total = sum(len(part) for part in parts)
    adam = Adam(parts, lr=1.0, betas=(0.9, 0.95), eps=0.1)
    for step in range(steps):
        for part, gradient in zip(
            parts, normal(total, seed=step).split([len(part) for part in parts]), strict=True
        ):
            part.grad = gradient.clone()
        adam.step(0.01 * (step + 1), 0.37 + step)
    moments = [torch.cat([adam.state[part][key] for part in parts]) for key in ("exp_avg", "exp_avg_sq")]
    assert {float(adam.state[part]["step"]) for part in parts} == {steps}
    return [torch.cat(parts), *moments]


@pytest.mark.parametrize("sizes", [[1, 15], [7, 24], [16, 3, 0, 30], [33, 33, 34], [5]])
def test_the_same_bits_wherever_it_is_cut(sizes: list[int]):
    start = normal(sum(sizes), seed=9)
    whole = stepped([start.clone()])
    cut = stepped([part.clone() for part in start.split(sizes)])
    assert all(torch.equal(one, other) for one, other in zip(whole, cut, strict=True))


def test_it_is_torchs_adam_with_gradients_divided():
    ours = normal(37, seed=1)
    theirs = ours.clone()
    adam = torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.95), eps=0.1)
    for step in range(3):
        theirs.grad = normal(37, seed=10 + step) / 2.5
        adam.step()
    again = Adam([ours], lr=1.0, betas=(0.9, 0.95), eps=0.1)
    for step in range(3):
        ours.grad = normal(37, seed=10 + step)
        again.step(0.1, 2.5)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_tensors_without_a_gradient_stay():
    moved, kept = torch.ones(3), torch.ones(5)
    adam = Adam([moved, kept], lr=1.0, betas=(0.9, 0.95), eps=0.1)
    moved.grad = torch.ones(3)
    adam.step(0.11, 1.0)
    # With bias correction the first step is lr · g / (|g| + eps) = 0.1.
    torch.testing.assert_close(moved, torch.full((3,), 0.9))
    assert torch.equal(kept, torch.ones(5))


def test_rms_by_hand():
    matrix, vector = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(2))
    matrix.grad = torch.tensor([[1.0, 2, 2], [4, 0, 0]])
    vector.grad = torch.tensor([3.0, -4])
    assert _row_squares(matrix.grad).tolist() == [9, 16]
    assert _row_squares(vector.grad).tolist() == [9, 16]
    assert gradient_rms([matrix, vector, nn.Parameter(torch.zeros(9))]) == (50 / 8) ** 0.5


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("rows", "columns"), [(2, 4097), (7, 3), (64, 1000), (300, 129), (1000, 1)])
def test_a_rows_sum_does_not_depend_on_the_rows_beside_it(rows: int, columns: int, threads: int):
    matrix = normal(rows, columns, seed=rows)
    whole = _row_squares(matrix)
    torch.set_num_threads(threads)
    try:
        for cut in {1, rows // 2, rows - 1}:
            parts = torch.cat([_row_squares(matrix[:cut].clone()), _row_squares(matrix[cut:].clone())])
            assert torch.equal(parts, whole)
    finally:
        torch.set_num_threads(1)
