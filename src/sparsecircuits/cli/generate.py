"""``sparsecircuits generate``: let a model go on with a text."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import open_run
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Let a model go on with a text, until it ends the document or has written enough tokens.

    Example: sparsecircuits generate demo/sparse "for item in" --temperature 0.5
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run: its folder, or its name in runs/; example: the one that comes with the package."""
    prompt: Annotated[Positional[str], arg(metavar="PROMPT")] = ""
    """What to go on with; nothing: begin a document."""
    tokens: int = 64
    """Tokens to write at most."""
    temperature: float = 0.8
    """Divides the logits: below 1 likelier tokens, 0 always the likeliest."""
    top_k: int | None = None
    """Draw from so many of the likeliest tokens."""
    seed: int = 0
    """Another seed, another text."""


def run(options: Options) -> None:
    """Print the prompt and what follows it."""
    import torch

    from sparsecircuits.model.generate import sample_tokens

    _check(options)
    run = open_run(options.run)
    tokenizer = run.tokenizer()
    written = sample_tokens(
        run.model().to_sparse(),
        [tokenizer.eot_id, *tokenizer.encode(options.prompt)],
        count=options.tokens,
        stop=tokenizer.eot_id,
        temperature=options.temperature,
        top_k=options.top_k,
        generator=torch.Generator().manual_seed(options.seed),
    )
    print(options.prompt + tokenizer.decode(written))


def _check(options: Options) -> None:
    if options.temperature < 0:
        raise ConfigError(f"--temperature is {options.temperature}; it must not be negative")
    if options.tokens < 1:
        raise ConfigError(f"--tokens is {options.tokens}; it must be at least 1")
    if options.top_k is not None and options.top_k < 1:
        raise ConfigError(f"--top-k is {options.top_k}; it must be at least 1")
