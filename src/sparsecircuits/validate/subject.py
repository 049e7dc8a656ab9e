"""What is put to the test: a circuit, its model, the task that it is said to do, and prompts.

Every test is a pure function of a :class:`Subject`, and of how often to draw. Where a test compares losses of
circuit and model, both are under the model's own positive scale (``subject.scale``), without any bias.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.model import SparseGPT
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.tasks.loss import answer_advantage, task_loss
from sparsecircuits.tasks.pairs import Task, TokenPairs
from sparsecircuits.tasks.score import Calibration, calibrated, fit_scale, pair_logits
from sparsecircuits.validate.interval import Interval, clustered_interval, templates_of_rows
from sparsecircuits.validate.necessity import active_nodes, random_circuit

#: Tests that run a model many times do so on so many held-out pairs.
FEW = 64
#: Pairs on which scales are fitted.
TRAIN_PAIRS = 256


@dataclass(frozen=True, eq=False)
class Subject:
    """A circuit and what is needed to doubt it.

    Attributes:
        model: the full model.
        circuit: of it.
        task: what it is said to do.
        tokenizer: the model's.
        corpus: [total] training token ids; None where they are not at hand.
        train: pairs on which scales are fitted.
        heldout: pairs on which everything is measured, of other templates and words; no circuit was chosen by
            them.
        scale: the positive factor that suits the full model's logits.
        target: task loss that the circuit was chosen by, in nats.
        config: it was found with.
        complete: the union of all circuits that do the task, where there are several; else the circuit.
        seed: of all that is drawn.
    """

    model: SparseGPT
    circuit: Circuit
    task: Task
    tokenizer: TextTokenizer
    corpus: np.ndarray | None
    train: TokenPairs
    heldout: TokenPairs
    scale: float
    target: float
    config: PruneConfig
    complete: Circuit
    seed: int = 0

    @classmethod
    def of(
        cls,
        model: SparseGPT,
        circuit: Circuit,
        task: Task,
        tokenizer: TextTokenizer,
        corpus: np.ndarray | None,
        *,
        pairs: int = 128,
        complete: Circuit | None = None,
        config: PruneConfig | None = None,
        seed: int = 0,
    ) -> Subject:
        """Draw the prompts.

        Args:
            model, circuit, task, tokenizer, corpus: as above.
            pairs: held-out pairs; there are twice as many prompts.
            complete: the union of several circuits, if they are known.
            config: None: the one in the circuit's ``info``, or the defaults.
            seed: of prompts and draws.

        Raises:
            TaskError: the task does not fit the tokenizer.
        """
        config = config or PruneConfig.from_dict(dict(circuit.info.get("config", {})))
        longest = min(config.max_tokens, model.config.n_ctx)
        train = task.pairs(tokenizer, "train", TRAIN_PAIRS, seed=seed, max_tokens=longest)
        heldout = task.pairs(tokenizer, "heldout", pairs, seed=seed, max_tokens=longest)
        return cls(
            model=model,
            circuit=circuit,
            task=task,
            tokenizer=tokenizer,
            corpus=corpus,
            train=train,
            heldout=heldout,
            scale=fit_scale(pair_logits(model, train), train),
            target=circuit.info.get("target", config.target),
            config=config,
            complete=circuit if complete is None else complete,
            seed=seed,
        )

    def about(self, circuit: Circuit) -> Subject:
        """The same questions about another circuit of the model, such as a random one."""
        return dataclasses.replace(self, circuit=circuit, complete=circuit)

    @property
    def draw_seed(self) -> int:
        """Of restorings and of texts to resample from: none that a pruning has seen, whatever its seed."""
        return self.seed + 1_000_000

    @functools.cached_property
    def some(self) -> TokenPairs:
        """The first :data:`FEW` held-out pairs."""
        return self.heldout.first(FEW)

    @functools.cached_property
    def active(self) -> dict[str, Tensor]:
        """Site name -> indices of nodes that are ever nonzero on :attr:`some`."""
        return active_nodes(self.model, self.some)

    def random_circuits(self, count: int, *, seed: int | None = None) -> Iterator[Circuit]:
        """Circuits with as many active nodes at each site, others than the circuit's own where there are."""
        generator = torch.Generator().manual_seed(self.seed if seed is None else seed)
        return (random_circuit(self.circuit, self.active, generator) for _ in range(count))

    def losses(self, logits: Tensor, pairs: TokenPairs) -> Tensor:
        """[rows] task losses of ``logits`` [rows, vocab] under the model's scale, in nats."""
        return task_loss(calibrated(logits, pairs, Calibration(self.scale, 0.0)), pairs)

    def leads(self, logits: Tensor, pairs: TokenPairs) -> Tensor:
        """[rows] by how much the right answer leads under the model's scale: its log-odds."""
        return answer_advantage(self.scale * logits, pairs)

    @torch.no_grad()
    def circuit_losses(self, pairs: TokenPairs, circuit: Circuit | None = None) -> Tensor:
        """[rows] task losses of the circuit (or another one) alone."""
        chosen = self.circuit if circuit is None else circuit  # an empty one is not None
        with chosen.installed(self.model, sealed=True):
            return self.losses(pair_logits(self.model, pairs), pairs)

    @torch.no_grad()
    def full_losses(self, pairs: TokenPairs) -> Tensor:
        """[rows] task losses of the full model."""
        return self.losses(pair_logits(self.model, pairs), pairs)

    def interval(self, values: Tensor, pairs: TokenPairs) -> Interval:
        """Of the mean of ``values`` [rows], clustered by template."""
        return clustered_interval(values, templates_of_rows(pairs), seed=self.seed)

    def settings(self, pairs: TokenPairs, **more: Any) -> dict[str, Any]:
        """What a test was done on and with, for its :class:`~.outcome.Outcome`; ``more`` joins it."""
        return {
            "prompts": 2 * len(pairs),
            "split": pairs.split,
            "seed": self.seed,
            "scale": self.scale,
            "positions": "every token",
            "norms": "live",
            **more,
        }
