"""Models whose weights are written by hand, so that their circuits are known.

The tokenizer has one token per byte, the task is string closing in miniature:
``f('abc`` → ``'`` and ``f("abc`` → ``"``. One embedding channel, :data:`QUOTE`, is +1 at ``'``, -1 at
``"`` and 0 elsewhere, and nothing else tells the two apart. A large constant channel, :data:`BALLAST`,
makes RMSNorm an almost constant factor. The unembedding reads one channel, :data:`WRITTEN`, for the
two quotes only. All other weights are small noise, which no set of nodes can do the task with.
"""

from __future__ import annotations

import random
import string
from pathlib import Path

import numpy as np
import torch

from sparsecircuits.data import DataConfig, build_corpus
from sparsecircuits.data.idioms.names import Split
from sparsecircuits.data.tokenizer import Tokenizer, train_tokenizer
from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.model.gpt import Block
from sparsecircuits.prune import PruneConfig
from sparsecircuits.tasks.pairs import Task, TextPair
from sparsecircuits.train import Run, RunConfig

QUOTE, WRITTEN, BALLAST = 0, 3, 7
VALUE = 5
"""The v channel that carries the quote, in the second of two heads."""
UP, DOWN = 1, 4
"""The neurons that fire for ``'`` and for ``"``."""

CONFIG = GPTConfig(
    vocab_size=257,
    n_ctx=16,
    n_layer=1,
    d_model=8,
    d_head=4,
    d_mlp=8,
    topk_fraction=None,
    sink=False,
    bigram=False,
)

#: Its task, string closing, as a user writes it: three bytes of a name between two quotation marks.
CLOSES = """
about: a string closes as it was opened
answer: "<<'|\\">>"
templates:
  - "f(<<'|\\">>$word"
  - "f(<<'|\\">>$word2"
  - "g(<<'|\\">>$word"
  - "h(<<'|\\">>$word"
slots:
  word: [abc, ghi, pqr, def, jkl, stu, vwx, mno, bcd, efg, hij, nop]
"""

#: Small enough for a second: few pairs, the objective that is quicker.
SETTINGS = PruneConfig(
    objective="task",
    steps=60,
    train_pairs=64,
    selection_pairs=32,
    validation_pairs=32,
    heldout_pairs=32,
    mean_tokens=512,
)

ATTENTION_CIRCUIT = frozenset(
    Node.parse(name)
    for name in (f"0.attn.act_in.{QUOTE}", f"0.attn.v.{VALUE}", f"0.attn.resid_delta.{WRITTEN}")
)
NEURON_CIRCUIT = frozenset(
    Node.parse(name)
    for name in (
        f"0.mlp.act_in.{QUOTE}",
        f"0.mlp.post_act.{UP}",
        f"0.mlp.post_act.{DOWN}",
        f"0.mlp.resid_delta.{WRITTEN}",
    )
)


def byte_tokenizer() -> Tokenizer:
    """One token per byte."""
    return train_tokenizer([], vocab_size=257)


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(string.ascii_lowercase) for _ in range(3))


def _string_closing(rng: random.Random, split: Split, room: int) -> TextPair:
    word = _word(rng)
    return TextPair(f"f('{word}", f'f("{word}', "')\n", '")\n', "f(<<'|\">>$w")


def _last_quote(rng: random.Random, split: Split, room: int) -> TextPair:
    word = _word(rng)
    return TextPair(f"{word}('", f'{word}("', "')\n", '")\n', "$w(<<'|\">>")


def _unlearnt_validation(rng: random.Random, split: Split, room: int) -> TextPair:
    """As string closing, but the validation split asks the opposite of what the model does."""
    pair = _string_closing(rng, split, room)
    if split == "validation":
        pair = TextPair(pair.left, pair.right, pair.right_answer, pair.left_answer, pair.template)
    return pair


STRING_CLOSING = Task("string_closing", "closes as it was opened", "contrast", _string_closing)
LAST_QUOTE = Task("last_quote", "repeats the quote just read", "contrast", _last_quote, same_last=False)
UNLEARNT_VALIDATION = Task("unlearnt_validation", "contradicts itself", "contrast", _unlearnt_validation)


def corpus(tokenizer: Tokenizer) -> np.ndarray:
    """2,000 tokens, letters and brackets, with ten quotes of each kind."""
    rng = random.Random(5)
    text = list("'\"" * 10 + "(" * 120 + "".join(_word(rng) for _ in range(620)))
    rng.shuffle(text)
    return np.array(tokenizer.encode("".join(text)), dtype=np.uint16)


@torch.no_grad()
def _noise(tokenizer: Tokenizer, seed: int = 3) -> SparseGPT:
    """The model without its circuit: ballast, noise, and the unembedding of the two quotes."""
    model = SparseGPT(CONFIG)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "ln_" not in name:
            parameter.normal_(0, 0.05, generator=generator)
    single, double = (tokenizer.encode(quote)[0] for quote in ("'", '"'))
    embedding, unembedding = model.transformer["wte"].weight, model.lm_head.weight
    assert isinstance(embedding, torch.Tensor)
    embedding[double] = embedding[single]
    embedding[:, [QUOTE, WRITTEN]] = 0
    embedding[single, QUOTE], embedding[double, QUOTE] = 1, -1
    embedding[:, BALLAST] = 8
    unembedding.zero_()
    unembedding[single, WRITTEN], unembedding[double, WRITTEN] = 10, -10
    attention, mlp = block(model).attn, block(model).mlp
    for read, write in ((attention.c_attn, attention.c_proj), (mlp.c_fc, mlp.c_proj)):
        read.weight[:, BALLAST] = 0  # no constant in favour of one quote
        write.bias[WRITTEN] = 0
    return model.eval()


def block(model: SparseGPT, layer: int = 0) -> Block:
    """One layer, as its own type."""
    found = model.blocks[layer]
    assert isinstance(found, Block)
    return found


@torch.no_grad()
def attention_model(tokenizer: Tokenizer) -> SparseGPT:
    """Does STRING_CLOSING by ATTENTION_CIRCUIT: a head averages the quote over the prompt and writes it."""
    model = _noise(tokenizer)
    attention = block(model).attn
    values = 2 * CONFIG.width("attn.v")  # c_attn's rows are q, k, v
    attention.c_attn.weight[values + VALUE, QUOTE] = 8
    attention.c_proj.weight[WRITTEN, VALUE] = 8
    return model


@torch.no_grad()
def neuron_model(tokenizer: Tokenizer) -> SparseGPT:
    """Does LAST_QUOTE by NEURON_CIRCUIT: gelu(x) - gelu(-x) = x, each neuron good for one quote only."""
    model = _noise(tokenizer)
    mlp = block(model).mlp
    mlp.c_fc.weight[UP, QUOTE], mlp.c_fc.weight[DOWN, QUOTE] = 12, -12
    mlp.c_fc.bias[[UP, DOWN]] = 0
    mlp.c_proj.weight[WRITTEN, UP], mlp.c_proj.weight[WRITTEN, DOWN] = 0.5, -0.5
    return model


def refusing_model(tokenizer: Tokenizer) -> SparseGPT:
    """Cannot do any task: its logits are all 0."""
    model = attention_model(tokenizer)
    torch.nn.init.zeros_(model.lm_head.weight)
    return model


def planted_run(root: Path) -> Run:
    """A finished run around :func:`attention_model` in ``root/run``, with the corpus of its means."""
    tokenizer = byte_tokenizer()
    text = root / "text.txt"
    text.write_text(tokenizer.decode(corpus(tokenizer).tolist()))
    data = DataConfig(mix={str(text): 1.0}, vocab_size=257, train_tokens=2000, val_tokens=0)
    run = Run.create(root / "run", RunConfig(model=CONFIG), build_corpus(data, root / "run" / "data"))
    run.finish(attention_model(tokenizer), {"val_loss": 5.5, "density": 1.0, "tokens": 0})
    return run
