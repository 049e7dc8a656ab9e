"""What was asked for of a corpus and is not in it: each as a line, for whoever asked."""

from __future__ import annotations

from sparsecircuits.data.manifest import Manifest


def shortfalls(manifest: Manifest) -> list[str]:
    """Where a corpus has less than its config asks for, and why; nothing where it has all.

    A corpus without a validation split is named, too: no model can be trained on it.
    """
    config, found = manifest.config, manifest.tokens
    told = []
    train, val = found.get("train", 0), found.get("val", 0)
    if config.train_tokens is not None and train < config.train_tokens:
        told.append(f"{train:,} of {config.train_tokens:,} tokens to train on: its sources have no more text")
    if config.val_tokens == 0:
        told.append("no tokens to validate on, as asked for; train needs some")
    elif val < config.val_tokens:
        why = (
            "that is a twentieth of the text"
            if config.train_tokens is None
            else "its sources have no more text"
        )
        told.append(f"{val:,} of {config.val_tokens:,} tokens to validate on: {why}")
    if config.tokenizer is None and manifest.vocab_size < config.vocab_size:
        told.append(
            f"{manifest.vocab_size:,} of {config.vocab_size:,} entries in the tokenizer: no other pair of "
            f"entries comes twice in the first {config.tokenizer_chars:,} characters, on which it is trained"
        )
    return told
