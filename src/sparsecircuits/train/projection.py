"""Which matrices are made sparse, how sparse, and along which axis a neuron lies (§2.1, §A.2).

Sparse are the attention and MLP matrices, embedding, unembedding and additive positions. Exempt are
the bigram table, concatenated positions, norm weights, sinks and, unless asked for, biases. The floor
(§A.2, Fig 22) holds along the input axis of ``c_attn`` and ``c_fc`` and along the output axis of both
``c_proj``; embeddings have none.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.ops.projection import check_floor, keep_largest_all_
from sparsecircuits.ops.sharded import Part, keep_largest_together_
from sparsecircuits.train import rows
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.schedules import Densities

#: Axis along which a neuron's or channel's own weights lie, by the name of the matrix.
FLOOR_AXIS = {"c_attn": 1, "c_fc": 1, "c_proj": 0}


@dataclass(frozen=True)
class SparseMatrix:
    """One matrix under projection, or one bias vector."""

    name: str
    weight: nn.Parameter
    embedding: bool
    floor: int
    axis: int

    def budget(self, densities: Densities) -> int:
        """How many entries may stay: ``int(density * entries)``."""
        density = densities.embeddings if self.embedding else densities.matrices
        return int(density * self.weight.numel())


def sparse_matrices(model: SparseGPT, floor: int, biases: bool = False) -> list[SparseMatrix]:
    """The matrices that training projects, in the order of the model's parameters; biases if asked for."""
    found = []
    for name, parameter in model.named_parameters():
        kind = name.split(".")[-2] if "." in name else name
        if kind in FLOOR_AXIS and parameter.ndim == 2:
            found.append(SparseMatrix(name, parameter, False, floor, FLOOR_AXIS[kind]))
        elif is_sparse_embedding(name, model.config) or (biases and kind in FLOOR_AXIS):
            found.append(SparseMatrix(name, parameter, True, 0, 1))
    return found


def is_sparse_embedding(name: str, config: GPTConfig) -> bool:
    """Whether a parameter is an embedding that is made sparse; concatenated positions are not."""
    if name == "transformer.wpe.weight":
        return config.positions == "learned"
    return name in ("transformer.wte.weight", "lm_head.weight")


def check_feasible(model: SparseGPT, config: TrainConfig) -> None:
    """Raise :class:`~sparsecircuits.errors.ConfigError` if a matrix's budget is below its floor."""
    embed = config.density if config.embed_density is None else config.embed_density
    target = Densities(config.density, embed)
    for matrix in sparse_matrices(model, config.floor):
        if matrix.floor:
            shape = (matrix.weight.shape[0], matrix.weight.shape[1])
            check_floor(shape, matrix.budget(target), matrix.floor, matrix.axis, matrix.name)


def project(matrices: list[SparseMatrix], densities: Densities) -> None:
    """Keep each matrix's largest entries, in place. A density of 1 leaves it as it is."""
    if any(rows.is_sharded(matrix.weight) for matrix in matrices):
        parts = [
            Part(
                rows.local(matrix.weight),
                tuple(matrix.weight.shape),
                matrix.budget(densities),
                matrix.floor,
                matrix.axis,
            )
            for matrix in matrices
        ]
        keep_largest_together_(parts, rows.group_of(matrices[0].weight))
        return
    keep_largest_all_(
        [matrix.weight for matrix in matrices],
        [matrix.budget(densities) for matrix in matrices],
        [matrix.floor for matrix in matrices],
        [matrix.axis for matrix in matrices],
    )


def measured_density(model: SparseGPT) -> Densities:
    """Shares of entries that are nonzero now: over all attention and MLP matrices, over all embeddings."""
    count = {False: 0, True: 0}
    total = {False: 0, True: 0}
    for matrix in sparse_matrices(model, floor=0):
        count[matrix.embedding] += rows.count_nonzero(matrix.weight)
        total[matrix.embedding] += matrix.weight.numel()
    return Densities(count[False] / total[False], count[True] / total[True])
