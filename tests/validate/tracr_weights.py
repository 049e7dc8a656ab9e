"""Tracr's weights in one of our models: two programs side by side, and noise.

Channels that mean the same (``tokens:x``, ``indices:2``, ``one``) are one channel of both programs; heads and
neurons are each program's own, and what is left over is noise's. How they fit our forward, which is left as
it is:

- Tracr has no norms: an ``nn.Identity`` stands in each one's place. It has no sinks, AbsTopK or bigrams.
- The embedding of a word at a place is the sum of Tracr's two embeddings.
- Letters are read off ``reverse``'s output channels as they are. A share is one number z; the logit of a
  possible share c is ``-SHARP (z - c)²`` up to a term that all have, linear in z and the constant ``one``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model.layers import RMSNorm
from sparsecircuits.validate.planted.noise import EMBEDDED, FAN, READ, WRITTEN
from sparsecircuits.validate.planted.place import block, embeddings
from tests.validate.tracr_inputs import LETTERS, LONGEST, PROGRAMS, SHARES, Arrays, Words, arrays

#: Sizes of the logits: of the right letter, and of how far a share is from the next.
SURE, SHARP = 10.0, 100.0
#: Channels, neurons a layer and heads that belong to noise.
CHANNELS, NEURONS, HEADS = 12, 16, 1


def channel_labels() -> list[str]:
    """What each channel means, up to those of noise."""
    return list(dict.fromkeys(str(label) for program in PROGRAMS for label in arrays(program)["labels"]))


def joint_model(words: Words, seed: int = 0, *, noise: bool = True) -> SparseGPT:
    """Put it together; ``seed`` is the noise's."""
    files, labels = [arrays(program) for program in PROGRAMS], channel_labels()
    d_head = max(_width(file, "attn/query") // int(file["heads"]) for file in files)
    config = GPTConfig(
        vocab_size=words.vocab_size,
        n_ctx=LONGEST + 1,
        n_layer=max(_layers(file) for file in files),
        d_model=len(labels) + CHANNELS,
        d_head=d_head,
        n_head=sum(int(file["heads"]) for file in files) + HEADS,
        d_mlp=sum(_width(file, "mlp/linear_1") for file in files) + NEURONS,
        activation="relu",
        topk_fraction=None,
        sink=False,
        bigram=False,
    )
    model = _empty(config)
    head = neuron = 0
    for file in files:
        channels = torch.tensor([labels.index(str(label)) for label in file["labels"]])
        _embed(model, words, file, channels)
        _put(model, file, channels, head, neuron)
        head, neuron = head + int(file["heads"]), neuron + _width(file, "mlp/linear_1")
    _read(model, words, labels)
    if noise:
        _add_noise(model, len(labels), torch.Generator().manual_seed(seed))
    return model


def _width(file: Arrays, module: str) -> int:
    return file[f"transformer/layer_0/{module}/w"].shape[1]


def _layers(file: Arrays) -> int:
    return sum(key.endswith("attn/query/w") for key in file)


@torch.no_grad()
def _empty(config: GPTConfig) -> SparseGPT:
    """All weights zero, no norms."""
    model = SparseGPT(config).eval()
    for name, module in list(model.named_modules()):
        if isinstance(module, RMSNorm):
            model.set_submodule(name, nn.Identity())
    for parameter in model.parameters():
        parameter.zero_()
    return model


@torch.no_grad()
def _embed(model: SparseGPT, words: Words, file: Arrays, channels: Tensor) -> None:
    """A word's embedding plus its place's; BOS stands at Tracr's place 0."""
    of_word, of_place = (torch.tensor(file[f"{part}_embed/embeddings"]) for part in ("token", "pos"))
    ids = {str(word): index for index, word in enumerate(file["words"])}
    table = embeddings(model)
    table[words.eot_id, channels] = of_word[ids["BOS"]] + of_place[0]
    for place in range(LONGEST):
        for letter in LETTERS:
            table[words.ids[f" {letter}{place}"], channels] = of_word[ids[letter]] + of_place[place + 1]


@torch.no_grad()
def _put(model: SparseGPT, file: Arrays, channels: Tensor, first_head: int, first_neuron: int) -> None:
    """Write a program's matrices, its heads and neurons from these on."""
    d_head, width = model.config.d_head, model.config.width("attn.q")
    key_size = _width(file, "attn/query") // int(file["heads"])
    # Scores are divided by the root of the heads' width, which may be more than it was.
    parts = {"query": (d_head / key_size) ** 0.5, "key": 1.0, "value": 1.0}
    dims = torch.arange(int(file["heads"]))[:, None] * d_head + torch.arange(key_size)
    dims = dims.flatten() + first_head * d_head
    for layer in range(_layers(file)):
        attention, mlp = block(model, layer).attn, block(model, layer).mlp

        def matrix(module: str, layer: int = layer) -> tuple[Tensor, Tensor]:
            key = f"transformer/layer_{layer}/{module}"
            return torch.tensor(file[f"{key}/w"]).T, torch.tensor(file[f"{key}/b"])

        for third, (name, factor) in enumerate(parts.items()):
            weight, bias = matrix(f"attn/{name}")
            rows = third * width + dims
            attention.c_attn.weight[rows[:, None], channels] = factor * weight
            attention.c_attn.bias[rows] = factor * bias
        reads, writes = matrix("mlp/linear_1"), matrix("mlp/linear_2")
        neurons = first_neuron + torch.arange(len(reads[1]))
        mlp.c_fc.weight[neurons[:, None], channels], mlp.c_fc.bias[neurons] = reads
        for linear, sources, (weight, bias) in (
            (attention.c_proj, dims, matrix("attn/linear")),
            (mlp.c_proj, neurons, writes),
        ):
            linear.weight[channels[:, None], sources] = weight
            linear.bias[channels] += bias


@torch.no_grad()
def _read(model: SparseGPT, words: Words, labels: Sequence[str]) -> None:
    """Unembedding of both programs' outputs."""
    table = model.lm_head.weight
    for letter in LETTERS:
        table[words.ids[f" {letter}"], labels.index(f"reverse:{letter}")] = SURE
    for share in SHARES:
        row = table[words.ids[f" {share}"]]
        row[labels.index("frac_prevs")] = 2 * SHARP * float(share)
        row[labels.index("one")] = -SHARP * float(share) ** 2


@torch.no_grad()
def _add_noise(model: SparseGPT, used: int, generator: torch.Generator) -> None:
    """Noise reads from any channel and writes to the last ones; as in planted models, no answer needs it."""
    config = model.config
    free, width = torch.arange(used, config.d_model), config.width("attn.q")

    def sizes(shape: tuple[int, ...], bounds: tuple[float, float]) -> Tensor:
        low, high = bounds
        signs = torch.randint(0, 2, shape, generator=generator) * 2 - 1
        return signs * (low + (high - low) * torch.rand(shape, generator=generator))

    def some(of: Tensor) -> Tensor:
        return of[torch.randperm(len(of), generator=generator)[:FAN]]

    embeddings(model)[:, free] = sizes((config.vocab_size, len(free)), EMBEDDED)
    every = torch.arange(config.d_model)
    for layer in range(config.n_layer):
        attention, mlp = block(model, layer).attn, block(model, layer).mlp
        unused = width - HEADS * config.d_head  # from here on q and k are nobody's
        for third in (0, 1, 2):
            for dim in range(0 if third == 2 else unused, width):
                row = attention.c_attn.weight[third * width + dim]
                if not row.any():
                    row[some(every)] = sizes((FAN,), READ)
                    if third == 2:
                        attention.c_proj.weight[some(free), dim] = sizes((FAN,), WRITTEN)
        for neuron, row in enumerate(mlp.c_fc.weight):
            if not row.any():
                row[some(every)] = sizes((FAN,), READ)
                mlp.c_fc.bias[neuron] = float(sizes((1,), EMBEDDED))
                mlp.c_proj.weight[some(free), neuron] = sizes((FAN,), WRITTEN)
