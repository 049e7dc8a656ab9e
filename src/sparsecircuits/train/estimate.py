"""How many bytes the gradients of some tokens take at their peak, worked out from a model's shape.

It is what tensors hold on a CPU with the kernels, in float32: what the forward pass saved, less what the
backward pass has used already, the gradients that are there so far, and what the layer at work needs. The
peak is at the loss or in one of the layers. Without the kernels more is saved.
"""

from __future__ import annotations

from sparsecircuits.model import GPTConfig
from sparsecircuits.train.saved import Activations

#: What a process that keeps freed memory holds, over what its tensors do: no piece fits everything. Measured.
HOLES = 1.6


def gradient_bytes(model: GPTConfig, tokens: int, activations: Activations, parts: int = 1) -> int:
    """Bytes at the peak, beyond weights and moments.

    Args:
        model: its shape.
        tokens: computed at once.
        activations: which of them are saved.
        parts: micro-batches one after the other; of more than one, gradients are there from the first one on.
    """
    attn, mlp = saved_bytes(model, activations == "sparse")
    kept = {"blocks": 4 * model.d_model, "sublayers": 8 * model.d_model}.get(activations, attn + mlp)
    again = {"blocks": attn + mlp, "sublayers": max(attn, mlp)}.get(activations, 0)
    unpacked = 4 * model.mlp_width if activations == "sparse" else 0
    work = again + unpacked + 4 * model.mlp_width + 4 * model.d_model
    table = 4 * model.vocab_size**2 if model.uses_bigram else 0
    ends = 4 * model.vocab_size * model.d_model
    layer = (4 * model.weight_count - table - 2 * ends) // model.n_layer
    head = 8 * model.d_model + 8 * model.vocab_size  # logits and their gradient
    stages = [tokens * (model.n_layer * kept + head) + table]
    for done in range(1, model.n_layer + 1):
        left = model.n_layer - done + 1
        stages.append(tokens * (left * kept + work) + table + ends + done * layer)
    held = max(stages) + (4 * model.weight_count if parts > 1 else 0)
    return int(held * HOLES if activations == "all" else held)


def saved_bytes(model: GPTConfig, sparse: bool) -> tuple[float, float]:
    """For one token what attention and the MLP of one layer save for their gradients."""

    def after_topk(site: str) -> float:
        """An activation that AbsTopK has gone over, and where it was kept."""
        width, k = model.width(site), model.topk(site)
        return 4 * (k if k and sparse else width) + (width / 8 if k else 0) * (2 if sparse else 1)

    def delta(site: str) -> float:
        return model.width(site) / 8 if model.topk(site) else 0

    heads, k = model.heads, model.topk("mlp.post_act")
    reads = sum(map(after_topk, ("attn.act_in", "attn.q", "attn.k", "attn.v")))
    attn = 4 * model.d_model + reads + 4 * model.width("attn.v") + 4 * heads + delta("attn.resid_delta")
    before_gelu = 4 * (k if k and model.activation == "gelu" else model.mlp_width)
    mlp = 4 * model.d_model + after_topk("mlp.act_in") + before_gelu + after_topk("mlp.post_act")
    return attn, mlp + delta("mlp.resid_delta")
