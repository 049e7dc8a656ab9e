"""Train a sparse model and its bridge to a frozen dense one, by the ordinary loop (§2.3, §A.3).

It is a :class:`~sparsecircuits.train.method.Method`: batches, schedules, projection, checkpoints, resuming,
processes and trackers are those of any training. The bridge is part of the optimizer's state, so that a
checkpoint holds it; a finished run has it as ``model/bridge.safetensors`` beside the sparse model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.config import BridgeConfig
from sparsecircuits.bridges.dense import DenseModel
from sparsecircuits.bridges.files import BRIDGE_FILE, load_bridge, save_bridge
from sparsecircuits.bridges.losses import Losses, add_gradients
from sparsecircuits.bridges.sides import side_of, sublayers
from sparsecircuits.errors import ConfigError
from sparsecircuits.files import sweep
from sparsecircuits.model import SparseGPT
from sparsecircuits.train.beside import Beside
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.devices import Team
from sparsecircuits.train.guard import TrainingDiverged, alarm, first_bad
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.run import RunConfig
from sparsecircuits.train.saved import saving
from sparsecircuits.train.schedules import lr_at
from sparsecircuits.train.worker import Worker

#: What a checkpoint calls the bridge's tensors.
PREFIX = "bridge/"
_BETAS, _EPS = (0.9, 0.95), 1e-8
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class BridgedOptimizer(SparseOptimizer):
    """:class:`SparseOptimizer`, and an Adam of its own for the bridge.

    Attributes:
        bridge: the maps.
        now: the step that gradients are being computed of.
    """

    def __init__(self, model: SparseGPT, config: TrainConfig, bridge: Bridge, settings: BridgeConfig) -> None:
        super().__init__(model, config)
        self.bridge, self.settings, self.now = bridge, settings, 0
        self.bridge_adam = torch.optim.Adam(
            bridge.parameters(), lr=settings.lr, betas=_BETAS, eps=_EPS, fused=True
        )

    def begin(self, step: int) -> None:
        """Note which step it is: the mixtures depend on it."""
        self.now = step

    def forget_gradients(self) -> None:
        super().forget_gradients()
        self.bridge.zero_grad(set_to_none=True)

    def step(self, step: int) -> float:
        """The bridge first, as the other's step forgets all gradients.

        Raises:
            TrainingDiverged: something of the bridge or of the model is not finite.
        """
        named = {f"{PREFIX}{name}": one for name, one in self.bridge.named_parameters()}
        gradients = {f"{name}.grad": one.grad for name, one in named.items() if one.grad is not None}
        self._require_finite(step, gradients, named)
        plain = self.config.replace(sharkfin=False)
        for group in self.bridge_adam.param_groups:
            group["lr"] = self.settings.lr * lr_at(step, plain) / plain.lr
        self.bridge_adam.step()
        moments = {
            f"{name}/{key}": self.bridge_adam.state[one][key]
            for name, one in named.items()
            for key in _MOMENTS[1:]
        }
        seconds = {name: one for name, one in moments.items() if name.endswith("_sq")}
        self._require_finite(step, {**named, **seconds}, moments)
        return super().step(step)

    def _require_finite(
        self, step: int, looked_at: Mapping[str, Tensor], blamed: Mapping[str, Tensor]
    ) -> None:
        """At an alarm name the first that is not finite, of ``blamed`` before ``looked_at``."""
        if (
            alarm(list(looked_at.values()))
            and (bad := first_bad({**blamed, **looked_at}.items())) is not None
        ):
            note = f", and its rate is bridge.lr={self.settings.lr}"
            raise TrainingDiverged(step + 1, self.config.lr, *bad, note)

    def state(self) -> dict[str, Tensor]:
        tensors = super().state()
        for name, parameter in self.bridge.named_parameters():
            tensors[f"{PREFIX}{name}"] = parameter.detach().cpu()
            for key, value in self.bridge_adam.state[parameter].items():
                tensors[f"{PREFIX}{name}/{key}"] = value.cpu()
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        super().load_state(tensors)
        with torch.no_grad():
            for name, parameter in self.bridge.named_parameters():
                parameter.copy_(tensors[f"{PREFIX}{name}"])
                self.bridge_adam.state[parameter] = {
                    key: tensors[f"{PREFIX}{name}/{key}"].to(parameter.device) for key in _MOMENTS
                }


class BridgeWorker(Worker):
    """A process's part of each step: all losses of the bridge."""

    def __init__(
        self,
        model: SparseGPT,
        config: TrainConfig,
        machine: Machine,
        team: Team,
        bridged: Bridged,
    ) -> None:
        super().__init__(model, config, machine, team)
        self.bridged = bridged
        bridged.bridge.to(team.device)
        bridged.dense.side.module.to(team.device)
        self.sparse = side_of(model)
        self._step = lambda: 0
        self._seen: list[Losses] = []

    @property
    def knows_leaves(self) -> bool:
        """The bridge has gradients, too."""
        return False

    def leaves(self) -> list[Tensor]:
        return [*super().leaves(), *self.bridged.bridge.parameters()]

    def optimizer(self, before: SparseOptimizer) -> SparseOptimizer:
        assert isinstance(before, BridgedOptimizer)
        made = self.bridged.optimizer(self.model, self.config)
        if before.adam.state:
            made.load_state(before.state())
        self._step = lambda: made.now
        return made

    def _losses(self, own: Tensor, count: int) -> list[float]:
        parts, team = own.chunk(count), self.team
        # Hybrids begin in the middle of blocks, so a block is not computed again as a whole.
        activations = "sublayers" if self.machine.activations == "blocks" else self.machine.activations
        self._seen = []
        for index, part in enumerate(parts):
            before = self._put_aside()
            with self.precision(), saving(self.model, activations):
                seed = [self.config.seed, self._step(), team.rank * count + index]
                bits = np.random.SeedSequence(seed).generate_state(1, np.uint64)
                found = add_gradients(
                    self.bridged.dense.side,
                    self.sparse,
                    self.bridged.bridge,
                    part,
                    self.bridged.settings,
                    scale=1 / (count * team.world),
                    generator=torch.Generator().manual_seed(int(bits[0] >> np.uint64(1))),
                )
            self._seen.append(found)
            for leaf, gradient in before:
                leaf.grad = gradient if leaf.grad is None else gradient.add_(leaf.grad)
        return [found.pretraining / (count * team.world) for found in self._seen]

    def _put_aside(self) -> list[tuple[Tensor, Tensor]]:
        """The gradients so far.

        A micro-batch has several backward passes; what it comes to is added up by itself first, so that it
        does not matter which process does it.
        """
        found = [(leaf, leaf.grad) for leaf in self.leaves() if leaf.grad is not None]
        for leaf, _ in found:
            leaf.grad = None
        return found

    def row(self) -> dict[str, Any]:
        """Means over this process's part of the batch, by location."""
        kinds = [name for name in Losses._fields if name not in ("pretraining", "mixtures")]
        row: dict[str, Any] = {
            name: [
                sum(column) / len(self._seen)
                for column in zip(*(getattr(one, name) for one in self._seen), strict=True)
            ]
            for name in kinds
        }
        mixtures = [loss for one in self._seen for loss in one.mixtures]
        return row | ({"mixtures": sum(mixtures) / len(mixtures)} if mixtures else {})


class Bridged:
    """A sparse model that is trained beside a dense one.

    Args:
        dense: the dense model; frozen here.
        settings: weights of the losses, and the bridge's own.
        config: model and recipe of the sparse one.

    Raises:
        ConfigError: a recipe of another step than the paper's; or the two models have not the same number of
            layers or not the same vocabulary, or the dense one has less room than the sparse one's training
            sequences take.
    """

    def __init__(self, dense: DenseModel, settings: BridgeConfig, config: RunConfig) -> None:
        recipe = config.train
        if recipe.sparsity != "topk" or recipe.dense_every != 1:
            raise ConfigError(
                f"a bridge is trained with train.sparsity=topk and train.dense_every=1, not "
                f"{recipe.sparsity} and {recipe.dense_every}"
            )
        there, here = dense.side, config.model
        if there.n_layer != here.n_layer:
            raise ConfigError(
                f"{dense.source} has {there.n_layer} layers, the sparse model {here.n_layer}; a bridge joins "
                f"models of the same depth: set model.n_layer={there.n_layer}"
            )
        if there.vocab_size != here.vocab_size:
            raise ConfigError(
                f"{dense.source} has a vocabulary of {there.vocab_size:,}, the sparse model one of "
                f"{here.vocab_size:,}; both must read the same tokens"
            )
        if there.n_ctx < config.context:
            raise ConfigError(
                f"{dense.source} has room for {there.n_ctx:,} tokens, training has sequences of "
                f"{config.context:,}: set train.context={there.n_ctx}"
            )
        self.dense, self.settings = dense, settings
        there.module.requires_grad_(False).eval()
        locations = sublayers(there) + 1
        self.bridge = Bridge(there.d_model, here.d_model, locations, settings.fraction, config.train.seed)

    def beside(self, folder: Path) -> Beside:
        return Beside.at(self.dense.place, folder, self.dense.sha256, self.settings.to_dict())

    def require(self, machine: Machine, team: Team) -> None:
        if team.kind == "shard" or machine.compile:
            raise ConfigError("a bridge is trained whole and uncompiled: use ddp, and leave --compile out")

    def verify(self, folder: Path) -> None:
        load_bridge(folder / "model")

    def optimizer(self, model: SparseGPT, config: TrainConfig) -> BridgedOptimizer:
        return BridgedOptimizer(model, config, self.bridge, self.settings)

    def worker(self, model: SparseGPT, config: TrainConfig, machine: Machine, team: Team) -> Worker:
        return BridgeWorker(model, config, machine, team, self)

    def finish(self, folder: Path, optimizer: SparseOptimizer) -> None:
        """Write the bridge."""
        sweep(folder / "model", BRIDGE_FILE)
        save_bridge(self.bridge, folder / "model")
