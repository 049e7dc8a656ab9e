"""How a run is computed: on what, in which pieces, and what is kept on the way.

Nothing here changes what a run ends with but by rounding, so that it may differ from one start of a run to
the next; what decides the result is :class:`~sparsecircuits.train.config.TrainConfig`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError

TrackerName = Literal["wandb", "trackio", "tensorboard"]


@dataclass(frozen=True, kw_only=True)
class Machine(Config):
    """How a run is computed."""

    micro_rows: int | None = None
    """Sequences that one process computes at once; the gradients of a batch's parts are added up. None: all
    of its share. Fewer take less memory."""
    keep: int = 2
    """Checkpoints that stay, the latest; the one of the lowest validation loss stays beside them."""
    out_of_memory: Literal["stop", "halve"] = "stop"
    """Where memory runs out in a step: stop with a message, or halve micro_rows and go on."""
    activations: Literal["all", "sparse", "blocks", "sublayers"] = "all"
    """What a forward pass saves for gradients: all activations; sparse: without their zeros; blocks,
    sublayers: what enters each, and the rest is computed again (gradient checkpointing)."""

    track: tuple[TrackerName, ...] = ()
    """Where metrics go beside metrics.jsonl."""

    device: str = "auto"
    """Where: cpu, cuda, cuda:N, or auto: a CUDA device if there is one. With torchrun each process has its
    own."""
    parallel: Literal["auto", "none", "ddp", "shard"] = "auto"
    """How the processes that torchrun started share the work. ddp: each has the whole model and some rows of
    the batch; shard: each has some rows of every weight too; auto: ddp if there are several."""
    compile: bool = False
    """Compile the loss and its gradients with torch.compile; the sparse CPU kernels are not used then."""

    def validate(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ConfigError(f"Machine.device is {self.device!r}; allowed: auto, cpu, cuda, cuda:N")
        if self.micro_rows is not None and self.micro_rows < 1:
            raise ConfigError(f"Machine.micro_rows is {self.micro_rows}; it must be at least 1")
        if self.activations == "sparse" and self.compile:
            raise ConfigError("Machine.activations is 'sparse'; with compile: all, blocks or sublayers")
        if self.keep < 1:
            raise ConfigError(f"Machine.keep is {self.keep}; it must be at least 1")
