"""Prune a model to the smallest circuit that does a task (Gao et al. 2025, §2.2, §A.5).

The steps, each in its own file, put together in ``search``:

1. frozen values: mean activations over the pretraining distribution (``means``);
2. one positive scale fitted on the full model and the train split, then held (``judge``);
3. mask runs, one for each penalty; one that has failed half-way (nothing left, or nearly
   everything) is given up and started again with a gentler or a harder penalty and the steps left
   (``optimise``; what they minimise: ``objective``);
4. nodes ranked by τ, the smallest prefix within the target found by bisection. Where more are needed than
   were kept: a second mask run with a gentler penalty, then a few nodes added, then the whole model whittled
   down instead. What is found is whittled if it is large, and cleaned up (``discretise``). A circuit must
   hold on the selection pairs and on those of the validation split, which has other templates and names; with
   the objective ``faithful`` also while deleted nodes come back, those among them that have broken an earlier
   circuit (``judge``);
5. of several circuits the one with the fewest edges is taken; if asked for, single edges are cut then
   (``edges``), and what is left is simplified (``simplify``);
6. the scale is refitted once, and raw and scaled loss are measured on held-out pairs.

:func:`prune_many` does many prunings side by side: wherever several wait for masks, the model runs once for
all of them. :meth:`PruneConfig.paper` leaves out what the authors did not do: steps 2, 4's repairs and
clean-up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import PruneError, TaskError
from sparsecircuits.memory import memory_advice
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.judge import Judge, Watch
from sparsecircuits.prune.means import pretraining_means, pretraining_pool
from sparsecircuits.prune.optimise import MaskJob, MaskRun, optimise_masks
from sparsecircuits.prune.search import Pruner, PruneResult, Search
from sparsecircuits.prune.splits import Splits
from sparsecircuits.tasks.pairs import Task
from sparsecircuits.tasks.score import Calibration

#: ``watch(job, stage, done, of, loss)``.
WatchMany = Callable[[int, str, int, int, float], None]


@dataclass(frozen=True)
class PruneJob:
    """One pruning of many.

    Attributes:
        task: what the circuit must do.
        config: how it is looked for.
        removed: nodes that stay frozen throughout, as if the model had never had them.
        held: scale and bias of the logits while masks learn and circuits are chosen; None: what suits the
            full model. One that cannot do the task has none that suits it.
        anyway: look for a circuit even where the full model misses the target, as controls do
            (:mod:`sparsecircuits.validate.prune_controls`).
    """

    task: Task
    config: PruneConfig = field(default_factory=PruneConfig)
    removed: frozenset[Node] = frozenset()
    held: Calibration | None = None
    anyway: bool = False


def prune(
    model: SparseGPT,
    task: Task,
    tokenizer: TextTokenizer,
    tokens: np.ndarray,
    config: PruneConfig | None = None,
    *,
    means: Mapping[str, Tensor] | None = None,
    removed: frozenset[Node] = frozenset(),
    held: Calibration | None = None,
    anyway: bool = False,
    watch: Watch | None = None,
) -> PruneResult:
    """Find the smallest circuit of ``model`` that does ``task`` with loss at most ``config.target``.

    Args:
        model: left as it is.
        task: what the circuit must do.
        tokenizer: the model's.
        tokens: [total] training token ids, for the frozen values.
        config: None: the defaults.
        means: frozen values, if they are at hand already.
        removed, held, anyway: as in :class:`PruneJob`.
        watch: called with (stage, done, of, loss) as work goes on.

    Raises:
        TaskError: the task does not fit the tokenizer.
        PruneError: the full model itself misses the target on the selection pairs, and that was not to be
            passed over.
        UnreachableError: nothing that was tried reaches the target.
    """
    job = PruneJob(task, config or PruneConfig(), removed, held, anyway)
    heard = None if watch is None else lambda _job, *report: watch(*report)
    (result,) = prune_many(model, [job], tokenizer, tokens, means=means, watch=heard)
    if isinstance(result, PruneResult):
        return result
    raise result


@memory_advice(
    "pruning",
    "fewer prompts (PruneConfig.train_pairs, --train-pairs, and the other pairs) or fewer mask sets side by "
    "side (at_once, --batch)",
)
def prune_many(
    model: SparseGPT,
    jobs: Sequence[PruneJob],
    tokenizer: TextTokenizer,
    tokens: np.ndarray,
    *,
    means: Mapping[str, Tensor] | None = None,
    watch: WatchMany | None = None,
    at_once: int | None = None,
) -> list[PruneResult | PruneError | TaskError]:
    """Prune one model many times: other tasks, settings or seeds.

    Masks of all jobs are learned side by side, as many in one run of the model as fit into memory; each job
    ends as it would have alone, up to rounding.

    Args:
        model: left as it is.
        jobs: what to prune, and how.
        tokenizer: the model's.
        tokens: [total] training token ids, for the frozen values.
        means: frozen values, if they are at hand already.
        watch: called with (job, stage, done, of, loss) as work goes on.
        at_once: so many mask sets in one run of the model at most; None: as many as memory allows.

    Returns:
        One for each job: its result, or why there is none.
    """
    parts = _Parts(model, tokenizer, tokens, means)
    results: dict[int, PruneResult | PruneError | TaskError] = {}
    searches: dict[int, Search] = {}
    with _frozen_weights(model):
        asked: dict[int, list[MaskJob]] = {}

        def go_on(index: int, runs: list[MaskRun] | None) -> None:
            try:
                asked[index] = searches[index].send(runs)  # type: ignore[arg-type]
            except StopIteration as end:
                results[index] = end.value
            except (PruneError, TaskError) as error:
                results[index] = error

        for index, job in enumerate(jobs):
            searches[index] = _search(parts, job, _told(watch, index))
            go_on(index, None)
        while asked:
            waiting, asked = asked, {}
            flat = [(index, mask_job) for index, mask_jobs in waiting.items() for mask_job in mask_jobs]
            mask_jobs = [mask_job for _, mask_job in flat]

            def heard(which: int, done: int, loss: float, _kept: int) -> None:
                if watch is not None:
                    watch(flat[which][0], "masks", done, flat[which][1].steps, loss)  # noqa: B023

            runs = optimise_masks(model, mask_jobs, watch=heard, at_once=at_once)
            for index in waiting:
                go_on(index, [run for (owner, _), run in zip(flat, runs, strict=True) if owner == index])
    return [results[index] for index in range(len(jobs))]


def _told(watch: WatchMany | None, index: int) -> Watch:
    def tell(stage: str, done: int, of: int, loss: float) -> None:
        if watch is not None:
            watch(index, stage, done, of, loss)

    return tell


class _Parts:
    """What prunings of one model have in common, made once for all of equal settings."""

    def __init__(
        self,
        model: SparseGPT,
        tokenizer: TextTokenizer,
        tokens: np.ndarray,
        means: Mapping[str, Tensor] | None,
    ) -> None:
        self.model, self.tokenizer, self.tokens, self.given = model, tokenizer, tokens, means
        self._means: dict[tuple[int, int], Mapping[str, Tensor]] = {}
        self._pools: dict[tuple[int, int], Tensor] = {}
        self._splits: dict[tuple[object, ...], Splits] = {}

    def means(self, config: PruneConfig) -> Mapping[str, Tensor]:
        if self.given is not None:
            return _finite(self.given)
        key = (config.mean_tokens, config.seed)
        if key not in self._means:
            means = pretraining_means(self.model, self.tokens, count=key[0], seed=key[1])
            self._means[key] = _finite(means)
        return self._means[key]

    def pool(self, config: PruneConfig) -> Tensor:
        key = (config.pool_tokens, config.seed)
        if key not in self._pools:
            self._pools[key] = pretraining_pool(self.model, self.tokens, count=key[0], seed=key[1])
        return self._pools[key]

    def splits(self, task: Task, config: PruneConfig) -> Splits:
        counts = (config.train_pairs, config.selection_pairs, config.validation_pairs, config.heldout_pairs)
        key = (id(task), *counts, config.max_tokens, config.seed)
        if key not in self._splits:
            self._splits[key] = Splits.draw(task, self.tokenizer, config, self.model.config.n_ctx)
        return self._splits[key]


def _finite(means: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The means themselves.

    Raises:
        PruneError: one is NaN or infinite, at which a loss, and with it a search, means nothing.
    """
    for name, mean in means.items():
        if (bad := (~torch.isfinite(mean)).nonzero()).numel():
            raise PruneError(f"the mean of {name}.{int(bad[0])}, to freeze it to, is {float(mean[bad[0]])}")
    return means


def _search(parts: _Parts, job: PruneJob, watch: Watch) -> Search:
    config = job.config
    pairs, means = parts.splits(job.task, config), parts.means(config)
    judge = Judge(
        parts.model, job.task.name, pairs, means, config, removed=job.removed, held=job.held, watch=watch
    )
    pool = parts.pool(config) if config.objective == "faithful" else None
    return (yield from Pruner(judge, pool, anyway=job.anyway).run())


class _frozen_weights:
    """No gradient for the model's parameters inside the context."""

    def __init__(self, model: SparseGPT) -> None:
        self.before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]

    def __enter__(self) -> None:
        for parameter, _ in self.before:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter, wanted in self.before:
            parameter.requires_grad_(wanted)
