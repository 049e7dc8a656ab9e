"""One process's part in each step: its rows of the batch, and their part of the gradients.

The gradients of a batch are the sum over its micro-batches, each one's mean loss divided by how many there
are, whether they are computed one after the other or by several processes; so two processes end with the bits
of one that takes the same two micro-batches (of three or more, the order of the sum differs).

- ``ddp``: each process has the whole model; torch's DistributedDataParallel adds up gradients during the last
  backward pass. Where not all weights have gradients in each step (:mod:`.amortised`), which it cannot know,
  they are added up after it.
- ``shard``: each process has some rows of every parameter; torch's ``fully_shard`` gathers a block's weights
  when the block needs them, and hands each process the sum of its rows' gradients.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sparsecircuits.errors import ConfigError
from sparsecircuits.memory import memory_advice
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import rows
from sparsecircuits.train.checkpoint import Part
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.devices import Team, alone
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.memory import SIZE_KNOBS
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.peak import Peak
from sparsecircuits.train.saved import saving
from sparsecircuits.train.within import leaves


class Loss(nn.Module):
    """A module whose forward is a model's loss, for what wraps modules."""

    def __init__(self, model: SparseGPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Of ``tokens`` [rows, n_ctx + 1], the mean in nats a token."""
        return self.model.loss(tokens[:, :-1], tokens[:, 1:])


class Moments:
    """The state of an optimizer that has been gathered."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors

    def state(self) -> dict[str, Tensor]:
        """As :meth:`SparseOptimizer.state`."""
        return self._tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`state`."""
        self._tensors = tensors


class Whole(NamedTuple):
    """A model and the parts of a checkpoint beside it, none of it sharded."""

    model: SparseGPT
    parts: Mapping[str, Part]


class Worker:
    """What a process computes of each step; it moves, compiles and shards the model as it must.

    Attributes:
        model: the one that is trained, possibly sharded.
        team: the processes.
        peak: what the gradients take of memory.
    """

    def __init__(
        self,
        model: SparseGPT,
        config: TrainConfig,
        machine: Machine | None = None,
        team: Team | None = None,
    ) -> None:
        self.machine = machine or Machine()
        self.team = team or alone()
        self.config = config
        self.peak = Peak(self.team.device)
        with memory_advice(f"moving the model to {self.team.device}", SIZE_KNOBS):
            self.model = model.to(self.team.device)
        require_fit(config, self.machine, self.team)
        self._loss: nn.Module = Loss(model)
        if self.team.kind == "shard":
            self._shard()
        elif self.machine.compile:
            self._loss.compile()
        self._wrapped = self.team.kind == "ddp" and self.knows_leaves
        if self._wrapped:
            self._loss = _distributed(self._loss)

    @property
    def knows_leaves(self) -> bool:
        """Whether just the model's parameters have gradients, and all of them in each step."""
        return self.config.dense_every == 1

    def leaves(self) -> list[Tensor]:
        """What gradients are added to."""
        return leaves(self.model)

    def row(self) -> dict[str, Any]:
        """What a line of metrics is to have beside the loss, of the last step."""
        return {}

    def _shard(self) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

        mesh = init_device_mesh(self.team.device.type, (self.team.world,))
        for block in self.model.blocks:
            if self.machine.compile:
                block.compile()
            fully_shard(block, mesh=mesh)
        # Like the blocks, so that parameters are the shards again after a pass without gradients too.
        fully_shard(self.model, mesh=mesh, reshard_after_forward=True)
        register_fsdp_forward_method(self.model, "loss")
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)  # each loss is divided already
                module.set_force_sum_reduction_for_comms(True)  # gloo can do nothing else

    def optimizer(self, before: SparseOptimizer) -> SparseOptimizer:
        """The optimizer of the model as it lies now, with the state of ``before``, of the whole model."""
        made = type(before)(self.model, self.config)
        made.patterns = not self.machine.compile
        if before.adam.state:  # else nothing was loaded
            made.load_state(before.state())
        return made

    def gradients(self, tokens: Tensor, micro_rows: int | None = None) -> float:
        """Add the gradients of the whole batch to the parameters.

        Args:
            tokens: [rows, n_ctx + 1] this process's share of the batch.
            micro_rows: sequences at once; None: as the machine has it.

        Returns:
            The mean loss of the whole batch in nats a token, the same on every process.
        """
        own = tokens.to(self.team.device)
        count = micro_batches(len(own), micro_rows or self.machine.micro_rows)
        with self.peak.watching(len(own) // count * (own.shape[1] - 1)):
            values = self._losses(own, count)
        if self.team.kind == "ddp" and not self._wrapped:
            for leaf in self.leaves():
                if leaf.grad is not None:
                    dist.all_reduce(leaf.grad)
        total = 0.0
        for value in (value for process in self.team.all_of(values) for value in process):
            total += value
        return total

    def _losses(self, own: Tensor, count: int) -> list[float]:
        """Add the gradients of ``count`` micro-batches; each one's share of the loss."""
        values = []
        for index, part in enumerate(own.chunk(count)):
            with self._exchanging(index == count - 1):
                with self.precision(), saving(self.model, self.machine.activations):
                    loss = self._loss(part) / (count * self.team.world)
                values.append(float(loss.detach()))
                loss.backward()
        return values

    def precision(self) -> Any:
        """The context of a forward pass."""
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.team.device.type, torch.bfloat16)

    @contextmanager
    def _exchanging(self, last: bool) -> Generator[None]:
        """Gradients of all but the last micro-batch stay on this process."""
        if self.team.kind == "shard":
            self.model.set_requires_gradient_sync(last)  # type: ignore[operator]
        if self._wrapped and not last:
            with self._loss.no_sync():  # type: ignore[operator]
                yield
        else:
            yield

    def whole(self, optimizer: SparseOptimizer) -> Whole:
        """Model and moments as one process would have them: what a checkpoint holds.

        All processes call it; of a sharded model only the first one gets what it asks for, the others the
        model as it lies and no parts.
        """
        if self.team.kind != "shard":
            return Whole(self.model, {"optimizer": optimizer})
        weights = {}
        for name, parameter in self.model.named_parameters():
            tensor = rows.collect(rows.local(parameter), parameter)
            if tensor is not None:
                weights[name] = tensor.cpu()
        moments = Moments(optimizer.state())
        if not self.team.main:
            return Whole(self.model, {})
        model = SparseGPT(self.model.config)
        model.load_state_dict(weights)
        return Whole(model, {"optimizer": moments})


def require_fit(config: TrainConfig, machine: Machine, team: Team) -> None:
    """Refuse what a number of processes cannot do.

    Raises:
        ConfigError: they do not divide the rows; ``micro_rows`` does not divide what each has of them; or a
            recipe that needs whole weights, with shards.
    """
    rows, world = config.rows, team.world
    if rows % world:
        raise ConfigError(f"a batch of {rows} rows (train.rows) cannot be shared by {world} processes")
    micro_batches(rows // world, machine.micro_rows)
    if machine.activations == "sparse" and config.precision != "float32":
        raise ConfigError(
            f"Machine.activations = 'sparse' packs float32, and train.precision is {config.precision!r}; "
            f"choose blocks or sublayers, or train in float32"
        )
    if world > 1 and machine.out_of_memory == "halve":
        raise ConfigError("Machine.out_of_memory is 'halve'; several processes cannot halve: set micro_rows")
    whole = {"sparsity": "topk", "revive": "none", "dense_every": 1}
    odd = [name for name, usual in whole.items() if getattr(config, name) != usual]
    if team.kind == "shard" and odd:
        given = ", ".join(f"train.{name} = {getattr(config, name)}" for name in odd)
        usual = ", ".join(f"{name} {whole[name]}" for name in odd)
        raise ConfigError(f"{given} needs whole weights; share the work by ddp, or train with {usual}")


def micro_batches(rows: int, micro_rows: int | None) -> int:
    """How many micro-batches a process with ``rows`` rows has in a step.

    Raises:
        ConfigError: ``micro_rows`` does not divide them.
    """
    if micro_rows is not None and rows % micro_rows:
        raise ConfigError(f"Machine.micro_rows is {micro_rows}; it must divide the batch of {rows} rows")
    return rows // (micro_rows or rows)


def _distributed(module: nn.Module) -> nn.Module:
    """DistributedDataParallel that adds up gradients without dividing them."""
    from torch.nn.parallel import DistributedDataParallel

    wrapped = DistributedDataParallel(module, gradient_as_bucket_view=True)
    wrapped.register_comm_hook(None, _add_up)
    return wrapped


def _add_up(_state, bucket):  # torch compares annotations, and these would be strings
    """The sum over all processes, of a bucket of gradients."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])
