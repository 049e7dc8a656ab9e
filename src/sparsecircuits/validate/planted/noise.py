"""Noise on everything that no program uses: weights of real sizes that the answer does not depend on.

Noise reads from anywhere, the programs' channels included, but writes to channels that are nobody's only. So
its nodes are live on every prompt, much like the rest of a trained model, and none of them matters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsecircuits.model import SparseGPT
from sparsecircuits.validate.planted.place import Places, block, embeddings
from sparsecircuits.validate.planted.programs import PROGRAMS
from sparsecircuits.validate.planted.texts import byte_tokenizer

#: A noise node reads and writes so many channels (the paper's floor of nonzero weights is 4).
FAN = 3
#: Smallest and largest size of what is embedded, read and written.
EMBEDDED, READ, WRITTEN = (0.1, 0.4), (0.5, 1.5), (0.02, 0.1)


@torch.no_grad()
def add_noise(model: SparseGPT, places: Places, ballast: int, generator: torch.Generator) -> None:
    """Fill what is free in ``places``; attention patterns of heads in use stay as they are."""
    config = model.config
    free = torch.tensor(places.channels)
    readable = torch.tensor([channel for channel in range(config.d_model) if channel != ballast])

    def sizes(shape: tuple[int, ...], bounds: tuple[float, float]) -> Tensor:
        low, high = bounds
        signs = torch.randint(0, 2, shape, generator=generator) * 2 - 1
        return signs * (low + (high - low) * torch.rand(shape, generator=generator))

    def some(of: Tensor) -> Tensor:
        return of[torch.randperm(len(of), generator=generator)[:FAN]]

    embeddings(model)[:, free] = sizes((config.vocab_size, len(free)), EMBEDDED)
    answers = {character for program in PROGRAMS.values() for character in program.unembedding}
    ids = [byte_tokenizer().encode(character)[0] for character in answers]
    others = torch.tensor([token for token in range(config.vocab_size) if token not in ids])
    model.lm_head.weight[others[:, None], free] = sizes((len(others), len(free)), READ)
    width = config.width("attn.q")
    for layer in range(config.n_layer):
        attention, mlp = block(model, layer).attn, block(model, layer).mlp
        for head in range(config.heads):
            unused = head in places.heads[layer]
            first = head * config.d_head
            for dim in range(config.d_head) if unused else places.v_dims[layer, head]:
                for part in (0, 1, 2) if unused else (2,):
                    attention.c_attn.weight[part * width + first + dim, some(readable)] = sizes((FAN,), READ)
                attention.c_proj.weight[some(free), first + dim] = sizes((FAN,), WRITTEN)
        for neuron in places.neurons[layer]:
            mlp.c_fc.weight[neuron, some(readable)] = sizes((FAN,), READ)
            mlp.c_fc.bias[neuron] = float(sizes((1,), EMBEDDED))
            mlp.c_proj.weight[some(free), neuron] = sizes((FAN,), WRITTEN)
