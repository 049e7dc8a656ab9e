"""The method in ordinary PyTorch, and a plain dense GPT: what the package's speed is measured against.

Two baselines, neither slowed down nor specially tuned:

- ``NaiveGPT`` and ``naive_step``: weight-sparse training as a careful person would first write it from
  Gao et al. 2025, §2.1 and §A.2. It takes the weights of a ``SparseGPT`` and computes the same. Where
  two idioms are equally common, the one that is faster on a CPU is used.
- ``DenseGPT`` and ``dense_step``: a nanoGPT-like model of the same width, as fast as plain PyTorch
  reasonably goes (64 channels a head, fused attention, fused AdamW, no biases, ``torch.compile`` works).

The small functions can each be timed alone. Milliseconds per step of both, on one thread::

    python benchmarks/naive.py --width 256 --layers 4 --batch 32 --context 128 --density 0.015625 --threads 1
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecircuits.model import GPTConfig
from sparsecircuits.ops.memory import keep_freed_memory

#: Axis along which a neuron's own weights lie, by the name of the matrix (§A.2).
NEURON_AXIS = {"c_attn": 1, "c_fc": 1, "c_proj": 0}
#: Added to the gradients' RMS before dividing by it (script).
RMS_EPS = 1e-5

# --- The small functions ---


def abs_topk(x: Tensor, k: int) -> Tensor:
    """Keep the ``k`` entries of each row [..., dim] largest in magnitude; which of equals is left open."""
    if k >= x.shape[-1]:
        return x
    index = x.abs().topk(k, dim=-1, sorted=False).indices
    return torch.zeros_like(x).scatter_(-1, index, x.gather(-1, index))


def sink_attention(q: Tensor, k: Tensor, v: Tensor, sink: Tensor) -> Tensor:
    """Causal attention [batch, head, pos, d_head] with one more logit per head, ``sink`` [head]."""
    batch, _, pos, d_head = q.shape
    mask = torch.full((pos, pos), -torch.inf, device=q.device, dtype=q.dtype).triu(1)
    scores = (q / math.sqrt(d_head)) @ k.transpose(-1, -2) + mask
    column = sink.view(1, -1, 1, 1).expand(batch, -1, pos, 1)
    weights = torch.cat([scores, column], dim=-1).softmax(-1)[..., :-1]
    return weights @ v


def cross_entropy_with_bigram(logits: Tensor, table: Tensor, tokens: Tensor, targets: Tensor) -> Tensor:
    """Mean loss (nats/token) of [batch, pos, vocab] logits plus the bigram row of each current token."""
    logits = logits + F.embedding(tokens, table)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def keep_largest_(weight: Tensor, k: int, floor: int = 0, axis: int = 1) -> Tensor:
    """Zero all but ``k`` entries of a matrix, in place; a slice along ``axis`` keeps at least ``floor``."""
    if k >= weight.numel():
        return weight
    size = weight.abs()
    keep = torch.zeros_like(weight, dtype=torch.bool)
    if floor > 0:
        protected = size.topk(floor, dim=axis, sorted=False).indices
        keep.scatter_(axis, protected, True)
        size.masked_fill_(keep, -1.0)  # already kept: below everything else
        k -= protected.numel()
    keep.view(-1)[size.view(-1).topk(k, sorted=False).indices] = True
    return weight.mul_(keep)


# --- The weight-sparse model and its step ---


class _Attention(nn.Module):
    """Normed residual stream [b t d] to what is added to it."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        width = config.heads * config.d_head
        self.heads, self.topk = config.heads, config.topk
        self.c_attn = nn.Linear(config.d_model, 3 * width, bias=config.bias)
        self.c_proj = nn.Linear(width, config.d_model, bias=config.bias)
        self.sink_logit = nn.Parameter(torch.zeros(config.heads))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.c_attn(_topk(x, self.topk("attn.act_in"))).chunk(3, dim=-1)
        q = self._split(_topk(q, self.topk("attn.q")))
        k = self._split(_topk(k, self.topk("attn.k")))
        v = self._split(_topk(v, self.topk("attn.v")))
        y = sink_attention(q, k, v, self.sink_logit).transpose(1, 2).flatten(2)
        return _topk(self.c_proj(y), self.topk("attn.resid_delta"))

    def _split(self, x: Tensor) -> Tensor:
        """[b t (h e)] to [b h t e]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class _MLP(nn.Module):
    """Normed residual stream [b t d] to what is added to it."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.topk = config.topk
        self.c_fc = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.c_proj = nn.Linear(config.mlp_width, config.d_model, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.c_fc(_topk(x, self.topk("mlp.act_in"))))
        x = self.c_proj(_topk(x, self.topk("mlp.post_act")))
        return _topk(x, self.topk("mlp.resid_delta"))


class _Block(nn.Module):
    """Attention, then MLP, each added to the residual stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.attn = _Attention(config)
        self.ln_2 = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.mlp = _MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NaiveGPT(nn.Module):
    """The authors' architecture (§A.1) with its loss; loads the ``state_dict`` of a ``SparseGPT``.

    Raises:
        ValueError: an option that is not here: positions, ReLU, no sink, no bigram table.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        if config.positions != "none" or config.activation != "gelu":
            raise ValueError("NaiveGPT has no positions and no activation but gelu")
        if not (config.sink and config.uses_bigram):
            raise ValueError("NaiveGPT always has sinks and a bigram table")
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.d_model),
                "h": nn.ModuleList(_Block(config) for _ in range(config.n_layer)),
                "ln_f": nn.RMSNorm(config.d_model, eps=config.norm_eps),
            }
        )
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.bigram_table = nn.Parameter(torch.zeros(config.vocab_size, config.vocab_size))
        _init_weights(self, config.n_layer)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Loss in nats/token of [batch, pos] tokens, each followed by its target."""
        x = self.transformer["wte"](tokens)
        for block in self.transformer["h"]:  # type: ignore[attr-defined]
            x = block(x)
        logits = self.lm_head(self.transformer["ln_f"](x))
        return cross_entropy_with_bigram(logits, self.bigram_table, tokens, targets)


def naive_optimizer(model: NaiveGPT, lr: float) -> torch.optim.Adam:
    """Adam as the authors' script has it (§A.2)."""
    return torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.95), eps=0.1, fused=True)


def naive_step(
    model: NaiveGPT,
    optimizer: torch.optim.Adam,
    tokens: Tensor,
    *,
    density: float,
    embed_density: float | None = None,
    floor: int = 4,
    weight_decay: float = 0.1,
) -> Tensor:
    """One step of sparse training in the script's order (§A.2); returns the loss.

    Args:
        model: changed in place.
        optimizer: from :func:`naive_optimizer`; its learning rate is the step's.
        tokens: [batch, pos + 1].
        density: share of nonzero entries of each attention and MLP matrix.
        embed_density: the same for embedding and unembedding; None: as ``density``.
        floor: least number of nonzero weights of a neuron or attention channel.
        weight_decay: of every matrix but the bigram table, after the projection.
    """
    loss = model(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    normalise_gradients(model)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    project(model, density, density if embed_density is None else embed_density, floor)
    decay(model, optimizer.param_groups[0]["lr"] * weight_decay)
    return loss.detach()


@torch.no_grad()
def normalise_gradients(model: nn.Module) -> None:
    """Divide all gradients by their root mean square over all parameters, plus 1e-5."""
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    rms = nn.utils.get_total_norm(grads) / math.sqrt(sum(grad.numel() for grad in grads))
    for grad in grads:
        grad.div_(rms + RMS_EPS)


def project(model: NaiveGPT, density: float, embed_density: float, floor: int) -> None:
    """Keep the largest entries of every attention and MLP matrix, of embedding and unembedding."""
    for name, weight in model.named_parameters():
        kind = name.split(".")[-2] if "." in name else name
        if kind in ("wte", "lm_head"):
            keep_largest_(weight, int(embed_density * weight.numel()))
        elif kind in NEURON_AXIS and weight.ndim == 2:
            keep_largest_(weight, int(density * weight.numel()), floor, NEURON_AXIS[kind])


@torch.no_grad()
def decay(model: NaiveGPT, rate: float) -> None:
    """Shrink every matrix but the bigram table by ``rate`` of itself."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and name != "bigram_table":
            parameter.sub_(parameter, alpha=rate)


def _topk(x: Tensor, k: int | None) -> Tensor:
    return x if k is None else abs_topk(x, k)


# --- The dense model and its step ---


class _DenseBlock(nn.Module):
    """Pre-norm attention and MLP, without biases."""

    def __init__(self, d_model: int, d_head: int) -> None:
        super().__init__()
        self.d_head = d_head
        self.ln_1 = nn.LayerNorm(d_model, bias=False)
        self.c_attn = nn.Linear(d_model, 3 * d_model, bias=False)
        self.attn_c_proj = nn.Linear(d_model, d_model, bias=False)
        self.ln_2 = nn.LayerNorm(d_model, bias=False)
        self.c_fc = nn.Linear(d_model, 4 * d_model, bias=False)
        self.mlp_c_proj = nn.Linear(4 * d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.c_attn(self.ln_1(x)).unflatten(-1, (3, -1, self.d_head))
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_c_proj(y.transpose(1, 2).flatten(2))
        return x + self.mlp_c_proj(F.gelu(self.c_fc(self.ln_2(x))))


class DenseGPT(nn.Module):
    """A plain GPT with learned positions and untied unembedding, and its loss (nanoGPT, ``bias=False``)."""

    def __init__(self, *, vocab_size: int, n_ctx: int, n_layer: int, d_model: int, d_head: int = 64) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab_size, d_model)
        self.wpe = nn.Embedding(n_ctx, d_model)
        self.h = nn.ModuleList(_DenseBlock(d_model, d_head) for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(d_model, bias=False)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)
        _init_weights(self, n_layer)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Loss in nats/token of [batch, pos] tokens, each followed by its target."""
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def dense_optimizer(model: DenseGPT, lr: float) -> torch.optim.AdamW:
    """Fused AdamW, as nanoGPT trains."""
    return torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True)


def dense_step(model: nn.Module, optimizer: torch.optim.Optimizer, tokens: Tensor) -> Tensor:
    """One step of dense training on tokens [batch, pos + 1]; returns the loss.

    ``model`` is a :class:`DenseGPT` or what ``torch.compile`` makes of one.
    """
    loss = model(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


@torch.no_grad()
def _init_weights(model: nn.Module, n_layer: int) -> None:
    """Normal 0.02, residual projections scaled by 1/sqrt(2 n_layer), biases zero (§A.1)."""
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.zero_()
        elif name == "bigram_table":
            parameter.uniform_(0, 0.02)
        elif parameter.ndim == 2:
            parameter.normal_(0, 0.02 / math.sqrt(2 * n_layer) if "c_proj" in name else 0.02)


# --- Timing ---

Step = Callable[[], object]


def naive_run(options: argparse.Namespace) -> Step:
    """A function that does the next naive step on random tokens."""
    config = GPTConfig(
        vocab_size=options.vocab, n_ctx=options.context, n_layer=options.layers, d_model=options.width
    )
    model = NaiveGPT(config)
    optimizer = naive_optimizer(model, lr=1e-2)
    tokens = _random_tokens(options)
    return lambda: naive_step(model, optimizer, tokens, density=options.density, floor=options.floor)


def dense_run(options: argparse.Namespace, compiled: bool = False) -> Step:
    """A function that does the next dense step on random tokens."""
    model = DenseGPT(
        vocab_size=options.vocab, n_ctx=options.context, n_layer=options.layers, d_model=options.width
    )
    optimizer = dense_optimizer(model, lr=1e-3)
    tokens = _random_tokens(options)
    step_model: nn.Module = torch.compile(model) if compiled else model  # type: ignore[assignment]
    return lambda: dense_step(step_model, optimizer, tokens)


class Timing(NamedTuple):
    """Medians of one kind of step, in milliseconds."""

    wall_ms: float
    cpu_ms: float
    """The process's CPU time: on one thread the better figure where something else runs too."""


def time_steps(steps: dict[str, Step], repeats: int = 5, warmup: int = 2) -> dict[str, Timing]:
    """Time each function, taken in turn so that a busy moment hits all of them."""
    for _ in range(warmup):
        for step in steps.values():
            step()
    taken: dict[str, list[Timing]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            taken[name].append(Timing(1e3 * wall, 1e3 * cpu))
    return {name: Timing(*map(statistics.median, zip(*runs, strict=True))) for name, runs in taken.items()}


def profile_table(step: Step, rows: int = 25) -> str:
    """Where one step's CPU time goes, by operation."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step()
    return profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=rows)


def main() -> None:
    """Print milliseconds and tokens a second of every kind of step."""
    options = _arguments()
    torch.set_num_threads(options.threads)
    if not options.default_malloc:
        keep_freed_memory()
    torch.manual_seed(0)
    steps = {"naive": naive_run(options), "dense": dense_run(options)}
    if options.compile:
        steps["dense, compiled"] = dense_run(options, compiled=True)
    tokens = options.batch * options.context
    for name, (wall, cpu) in time_steps(steps, options.repeats).items():
        print(f"{name:16} {wall:8.1f} ms a step, {1e3 * tokens / wall:6.0f} tokens/s, CPU time {cpu:8.1f} ms")
    if options.profile:
        for name, step in steps.items():
            print(f"\n{name}\n{profile_table(step)}")


def _random_tokens(options: argparse.Namespace) -> Tensor:
    return torch.randint(options.vocab, (options.batch, options.context + 1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--width", type=int, default=256, help="d_model of both models")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32, help="sequences in a batch")
    parser.add_argument("--context", type=int, default=128, help="tokens of a sequence")
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--density", type=float, default=1 / 64, help="share of weights that the naive keeps")
    parser.add_argument("--floor", type=int, default=4, help="least number of weights of a neuron")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed, after two that are not")
    parser.add_argument("--compile", action="store_true", help="also time the dense step under torch.compile")
    parser.add_argument("--profile", action="store_true", help="also print where the time goes")
    parser.add_argument("--default-malloc", action="store_true", help="do not keep freed memory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
