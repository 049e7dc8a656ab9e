"""Compile two RASP programs with Tracr and write ``tests/data/tracr/{reverse,xproportion}.npz``.

Tracr (Lindner et al. 2023, arXiv 2301.05062) turns a program into a transformer's weights: circuits that
others have written, for our pruning to find. It needs JAX, so this runs in an environment of its own, seldom,
and the package knows nothing of it::

    python -m venv tracr-venv && tracr-venv/bin/pip install tracr-pypi==1.0.0
    tracr-venv/bin/python benchmarks/tracr_models.py

The programs are those of Edge Pruning's (Bhaskar et al. 2024, arXiv 2406.16778, §5) two models:

- ``reverse``: at each place the letter that stands as far from the other end (Tracr's ``make_reverse``);
- ``xproportion``: at each place the share of ``x`` among the letters so far (Tracr's ``make_frac_prevs``).

Both attend both ways: no causal mask. A file holds, for V words, d residual channels, n inputs and p places:

============================  ============================================================================
``labels``                    [d] what each channel means, such as ``indices:2`` or ``reverse:x``
``words``                     [V] Tracr's vocabulary, in the order of its ids
``heads``                     how many heads each layer has
``token_embed/embeddings``    [V, d]; ``pos_embed/embeddings`` [p, d]; then every matrix as Haiku has it,
                              [in, out], such as ``transformer/layer_0/attn/query/w``, and its bias ``.../b``
``inputs``                    [n, p] every input there is, as ids; -1 behind its end
``output_labels``             which channels are the output
``outputs``                   [n, p, out] what JAX computes for them
============================  ============================================================================
"""

from __future__ import annotations

import argparse
import itertools
import re
from pathlib import Path
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import numpy as np
from tracr.compiler import compiling, lib  # pyright: ignore[reportMissingImports]
from tracr.rasp import rasp  # pyright: ignore[reportMissingImports]

#: What inputs are made of, and how many at most.
LETTERS, LONGEST = ("w", "x", "y"), 5
BOS, PAD = "BOS", "PAD"
#: What Tracr adds to an expression's name in a label: its number in the session.
_NUMBER = re.compile(r"_\d+(?=[:_]|$)")


def programs() -> dict[str, tuple[Any, str]]:
    """Each program, and what its output channels' labels begin with."""
    return {
        "reverse": (lib.make_reverse(rasp.tokens), "reverse"),
        "xproportion": (lib.make_frac_prevs(rasp.tokens == "x"), "frac_prevs"),
    }


def exported(program: Any, output: str) -> dict[str, np.ndarray]:
    """Compile a program; all that its file holds."""
    model = compiling.compile_rasp_to_model(
        program, vocab=set(LETTERS), max_seq_len=LONGEST, causal=False, compiler_bos=BOS, compiler_pad=PAD
    )
    assert model.input_encoder is not None
    ids: dict[str, int] = model.input_encoder.encoding_map
    labels = [_NUMBER.sub("", label) for label in model.residual_labels]
    assert len(set(labels)) == len(labels)
    outputs = [index for index, label in enumerate(labels) if label.partition(":")[0] == output]
    inputs, computed = [], []
    for length in range(1, LONGEST + 1):
        texts = itertools.product(LETTERS, repeat=length)
        tokens = np.array([[ids[word] for word in (BOS, *text)] for text in texts], dtype=np.int64)
        stream = np.asarray(model.forward(model.params, jax.numpy.array(tokens)).transformer_output.output)
        behind = ((0, 0), (0, LONGEST - length))
        inputs.append(np.pad(tokens, behind, constant_values=-1))
        computed.append(np.pad(stream[..., outputs], (*behind, (0, 0))))
    parameters = {
        f"{module}/{name}": np.asarray(value, dtype=np.float32)
        for module, own in model.params.items()
        for name, value in own.items()
    }
    return {
        "labels": np.array(labels),
        "words": np.array(sorted(ids, key=ids.__getitem__)),
        "heads": np.array(model.model_config.num_heads),
        **parameters,
        "inputs": np.concatenate(inputs).astype(np.int8),
        "output_labels": np.array(labels)[outputs],
        "outputs": np.concatenate(computed).astype(np.float32),
    }


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/data/tracr"), help="folder for the files")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, (program, output) in programs().items():
        arrays = exported(program, output)
        np.savez_compressed(out / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        nonzero = sum(int(np.count_nonzero(a)) for key, a in arrays.items() if "/" in key)
        print(f"{name}: {len(arrays['labels'])} channels, {nonzero} weights, {len(arrays['inputs'])} inputs")


if __name__ == "__main__":
    main()
