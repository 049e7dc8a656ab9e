"""Baselines: rank the nodes without learning masks, then bisect for the fewest that reach the target.

The paper's baseline for learned pruning is gradient attribution (Gao et al. 2025, §A.5, Fig 31). The
importance of a node, the larger the earlier it is kept:

=============  ======================================================================================
attribution    -d loss / d c of a factor c = 1 on (activation - mean): gradient x (activation - mean),
               summed over tokens, averaged over prompts; estimates the rise in loss when it is frozen
integrated     the same, averaged over c from 0 to 1 on all nodes at once (integrated gradients)
magnitude      root mean square of (activation - mean) over the task's prompts
random         a random order
=============  ======================================================================================

Frozen values, scale, pairs and the circuit's figures are those of :func:`sparsecircuits.prune.prune`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit, count_edges, freeze, model_hash
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import PruneError, near_misses
from sparsecircuits.model import Node, SparseGPT, intervene, record
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.discretise import bisect_size, ranking
from sparsecircuits.prune.masks import Mix, all_nodes
from sparsecircuits.prune.means import pretraining_means
from sparsecircuits.prune.search import PruneResult
from sparsecircuits.prune.splits import Splits
from sparsecircuits.tasks.loss import task_loss
from sparsecircuits.tasks.pairs import Task, TokenPairs
from sparsecircuits.tasks.score import Calibration, fit_scale, pair_logits, score

Importance = Literal["attribution", "integrated", "magnitude", "random"]
IMPORTANCES: tuple[Importance, ...] = get_args(Importance)
#: Where ``integrated`` takes the gradient: the middles of so many equal steps from all frozen to all live.
STEPS = 16


def prune_by_importance(
    model: SparseGPT,
    task: Task,
    tokenizer: TextTokenizer,
    tokens: np.ndarray,
    by: Importance,
    config: PruneConfig | None = None,
    *,
    means: Mapping[str, Tensor] | None = None,
) -> PruneResult:
    """The smallest set of most important nodes that does ``task`` with loss at most ``config.target``.

    Args:
        model: left as it is.
        task: what the circuit must do.
        tokenizer: the model's.
        tokens: [total] training token ids, for the frozen values.
        by: which importance, as the table above has it.
        config: None: the defaults; only target, pairs, tokens and seed matter here.
        means: frozen values, if they are at hand already.

    Raises:
        PruneError: an unknown importance, or the full model itself misses the target.
        TaskError: the task does not fit the tokenizer.
    """
    config = config or PruneConfig()
    pairs = Splits.draw(task, tokenizer, config, model.config.n_ctx)
    if means is None:
        means = pretraining_means(model, tokens, count=config.mean_tokens, seed=config.seed)
    scale = fit_scale(pair_logits(model, pairs.train), pairs.train)
    held = Calibration(scale, 0.0)
    sites = model.config.site_names()
    nodes = all_nodes(sites, [model.config.width(site.site) for site in sites])
    ranked = ranking(nodes, importances(model, pairs.train, means, by, scale=scale, seed=config.seed))
    evaluations = 0

    def loss(kept: frozenset[Node], some: TokenPairs) -> float:
        keep = Circuit(task.name, kept, means).keep_masks()
        with freeze(model, keep, means, sealed=True):
            return score(pair_logits(model, some), some, held).loss

    def reaches(kept: frozenset[Node], target: float) -> bool:
        nonlocal evaluations
        evaluations += 1
        return all(loss(kept, some) <= target for some in (pairs.selection, pairs.validation))

    kept = bisect_size(ranked, reaches, config.target)
    if kept is None:
        raise PruneError(
            f"{task.name}: the full model misses the target {config.target} on the selection or the "
            f"validation pairs; it cannot be pruned to it"
        )
    circuit = Circuit(task.name, kept, means)
    with circuit.installed(model):
        own = fit_scale(pair_logits(model, pairs.train), pairs.train)
        logits = pair_logits(model, pairs.heldout)
    raw, scaled = score(logits, pairs.heldout), score(logits, pairs.heldout, Calibration(own, 0.0))
    info = {"model_sha256": model_hash(model), "target": config.target, "by": by, "config": config.to_dict()}
    return PruneResult(
        circuit=Circuit(task.name, kept, means, own, info),
        met=True,
        nodes=len(kept),
        edges=count_edges(model, kept),
        loss=scaled.loss,
        raw_loss=raw.loss,
        accuracy=scaled.accuracy,
        full=score(pair_logits(model, pairs.heldout), pairs.heldout, held),
        validation_loss=loss(kept, pairs.validation),
        forwards={
            "mask_steps": 0,
            "evaluations": evaluations,
            "estimates": STEPS if by == "integrated" else 1,
        },
    )


def importances(
    model: SparseGPT,
    pairs: TokenPairs,
    means: Mapping[str, Tensor],
    by: Importance,
    *,
    scale: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """[nodes] how important each node is, in the order of :func:`~sparsecircuits.prune.masks.all_nodes`.

    Args:
        model: any model; its parameters get no gradient.
        pairs: prompts of the task.
        means: site name -> [width], what a node is frozen to.
        by: as the table above has it.
        scale: factor on the logits.
        seed: of the random order.

    Raises:
        PruneError: an unknown importance.
    """
    if by == "attribution":
        return -_slopes(model, pairs, means, scale, 1.0)
    if by == "integrated":
        shares = [(step + 0.5) / STEPS for step in range(STEPS)]
        return -torch.stack([_slopes(model, pairs, means, scale, share) for share in shares]).mean(0)
    if by == "magnitude":
        return _magnitudes(model, pairs, means)
    if by == "random":
        return torch.rand(model.config.node_count, generator=torch.Generator().manual_seed(seed))
    raise PruneError(f"no importance {by!r}; {near_misses(by, IMPORTANCES)}")


def _slopes(
    model: SparseGPT, pairs: TokenPairs, means: Mapping[str, Tensor], scale: float, share: float
) -> Tensor:
    """[nodes] derivative of the task loss by each node's factor, where all factors are ``share``."""
    factors = {
        str(site): torch.full((model.config.width(site.site),), share, requires_grad=True)
        for site in model.config.site_names()
    }
    changes = {name: Mix(factor, means[name]) for name, factor in factors.items()}
    with torch.enable_grad(), intervene(model, changes):
        loss = task_loss(scale * model.answers(pairs.prompts), pairs).mean()
        return torch.cat(torch.autograd.grad(loss, list(factors.values())))


@torch.no_grad()
def _magnitudes(model: SparseGPT, pairs: TokenPairs, means: Mapping[str, Tensor]) -> Tensor:
    """[nodes] root mean square of (activation - mean) over the prompts, padding aside."""
    names = [str(site) for site in model.config.site_names()]
    with record(model, names) as cache:
        model(pairs.tokens)
    real = torch.arange(pairs.tokens.shape[1]) <= pairs.last[:, None]
    return torch.cat([(cache[name][real] - means[name]).square().mean(0).sqrt() for name in names])
