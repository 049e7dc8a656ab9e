"""The dense model that a bridge leads to: a run or a model of ours, or a GPT-2 of ``transformers``.

A source is

- a run or a saved model of ours: its folder, or its name on the Hub;
- a folder with a ``config.json`` as ``transformers`` writes it, such as ``hf download`` makes;
- ``transformers:NAME``: what that library calls by that name, fetched by it.

A fingerprint of its weights tells whether it is the one that a bridge was trained to, wherever it lies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsecircuits.bridges.sides import GPT2, Side, side_of
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.checkpoint import CONFIG_FILE, FORMAT, load_model, locate
from sparsecircuits.train.run import RUN_FILE, Run

SCHEME = "transformers:"
#: A folder's tokenizer, of ours and of ``transformers`` alike.
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class DenseModel:
    """A frozen dense model and where it comes from."""

    side: Side
    source: str
    """As it was asked for."""
    sha256: str
    """Of its weights (:func:`fingerprint`)."""
    folder: Path | None = None
    """Where it lies; None if ``transformers`` fetched it, or if it is in no file."""
    place: Path | str = ""
    """What finds it again: its folder, or its name where that is on the Hub."""

    @classmethod
    def of(cls, model: SparseGPT | Any, name: str = "the dense model") -> DenseModel:
        """Of a model at hand, ours or built like GPT-2."""
        return _made(side_of(model), name)

    def require_vocabulary(self, tokenizer: Tokenizer, where: str) -> None:
        """See that token ids mean the same to it as to a tokenizer.

        Args:
            tokenizer: that of the sparse model's corpus.
            where: what to call it in a message.

        Raises:
            ConfigError: they do not.
        """
        if self.side.vocab_size != tokenizer.vocab_size:
            raise ConfigError(
                f"{self.source} has {self.side.vocab_size:,} entries in its vocabulary, the tokenizer of "
                f"{where} {tokenizer.vocab_size:,}; both models must read the same tokens: build the "
                f"corpus with the dense model's tokenizer (sparsecircuits data --tokenizer)"
            )
        own = None if self.folder is None else self.folder / TOKENIZER
        if own is not None and own.is_file() and Tokenizer.load(own).hash != tokenizer.hash:
            raise ConfigError(
                f"{own} is another tokenizer than that of {where}, though as large; both models must read "
                f"the same tokens"
            )


def load_dense(source: str | Path) -> DenseModel:
    """Read the dense model of a bridge; see the top of this file for what a source may be.

    Raises:
        CheckpointError: nothing there, or damaged.
        ConfigError: a model of ``transformers`` that is not built like GPT-2, or no such library.
    """
    text = str(source)
    if text.startswith(SCHEME):
        return _made(GPT2(_from_transformers(text.removeprefix(SCHEME))), text)
    folder = locate(source)
    if _is_foreign(folder):
        return _made(GPT2(_from_transformers(str(folder))), text, folder)
    return _made(side_of(load_model(folder)), text, folder)


def corpus_of(dense: DenseModel) -> Path | None:
    """The corpus that a run of ours was trained on, where that is still there."""
    if dense.folder is None or not (dense.folder / RUN_FILE).is_file():
        return None
    corpus = Run.open(dense.folder).corpus_folder
    return corpus if corpus.is_dir() else None


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bits, in the order of the names."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _made(side: Side, source: str, folder: Path | None = None) -> DenseModel:
    place = folder if folder is not None and folder == Path(source) else source
    return DenseModel(side, source, fingerprint(dict(side.module.named_parameters())), folder, place)


def _is_foreign(folder: Path) -> bool:
    """Whether a folder's ``config.json`` is of ``transformers``."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") != FORMAT and "model_type" in config


def _from_transformers(name: str) -> Any:
    try:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError as error:
        raise ConfigError(
            f"{name} is a model of transformers, which is not installed: "
            f"pip install 'sparsecircuits[interop]'"
        ) from error
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise CheckpointError(f"{name}: transformers cannot read it: {first}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
