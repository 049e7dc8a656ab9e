"""Let a model go on with a text: one token after the other, with a cache of keys and values.

>>> from sparsecircuits import generate, load_run                                   # doctest: +SKIP
>>> generate(load_run("runs/mine"), "for item in", count=2, top_p=0.9, seed=1)      # doctest: +SKIP

A token is drawn in four steps, as :class:`Sampling` has them: divide the logits by the temperature; keep the
``top_k`` likeliest; of these keep the fewest whose chances add up to ``top_p``; draw one of what is left.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from sparsecircuits.config import Config
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import ConfigError
from sparsecircuits.model.cache import KVCache
from sparsecircuits.model.gpt import SparseGPT

#: Logits divided by less may be infinite.
COLDEST = 1e-6

Ended = Literal["document", "stop", "length"]


class HasModel(Protocol):
    """What gives a model and its tokenizer, as a run does."""

    def model(self) -> SparseGPT: ...

    def tokenizer(self) -> Tokenizer: ...


@dataclass(frozen=True, kw_only=True)
class Sampling(Config):
    """How a token is chosen."""

    temperature: float = 0.8
    """Divides the logits: below 1 likelier tokens; 0, and less than a millionth, always the likeliest."""
    top_k: int | None = None
    """Draw from so many of the likeliest tokens, of equal ones from those of lower id; None: from all."""
    top_p: float | None = None
    """Draw from the fewest likeliest tokens whose chances add up to at least this; None: from all."""

    def validate(self) -> None:
        if self.temperature < 0:
            raise ConfigError(f"Sampling.temperature is {self.temperature}; it must not be negative")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"Sampling.top_k is {self.top_k}; it must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"Sampling.top_p is {self.top_p}; it must be above 0 and at most 1")

    def chances(self, logits: Tensor) -> Tensor:
        """Each token's chance to be drawn, [vocab], from its logits [vocab]; those left out have 0.

        >>> logits = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
        >>> Sampling(temperature=1.0, top_p=0.7).chances(logits).mul(3).round(decimals=4).tolist()
        [2.0, 1.0, 0.0, 0.0]
        """
        if self.temperature < COLDEST:
            return torch.zeros_like(logits).scatter_(0, logits.argmax(keepdim=True), 1.0)
        if self.top_k is not None and self.top_k < len(logits):
            likeliest = logits.sort(descending=True, stable=True).indices  # of equal ones the lowest id first
            logits = logits.scatter(0, likeliest[self.top_k :], float("-inf"))
        chances = (logits / self.temperature).softmax(0)
        if self.top_p is None:
            return chances
        likeliest = chances.sort(descending=True, stable=True)
        before = likeliest.values.cumsum(0) - likeliest.values
        kept = chances.scatter(0, likeliest.indices, likeliest.values.masked_fill(before >= self.top_p, 0.0))
        return kept / kept.sum()


@dataclass(frozen=True)
class Sample:
    """One text that a model wrote.

    Attributes:
        text: what follows the prompt.
        tokens: its ids as they were drawn; those of the stop text too.
        seed: of this sample alone.
        ended: why: the document ended, a stop text came, or it had the length asked for.
    """

    text: str
    tokens: tuple[int, ...]
    seed: int
    ended: Ended


def generate(
    source: SparseGPT | HasModel,
    prompt: str | Sequence[int] = "",
    *,
    tokens: int = 64,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    count: int = 1,
    stop: str | Sequence[str] = (),
    tokenizer: Tokenizer | None = None,
    watch: Callable[[int, str], None] | None = None,
) -> list[Sample]:
    """Let a model go on with a text.

    Args:
        source: a run, or a model together with its ``tokenizer``.
        prompt: what to go on with, text or token ids; nothing: begin a document.
        tokens: how many to write at most. What is written may be longer than the model's ``n_ctx``: it then
            sees the last ``n_ctx`` tokens.
        temperature, top_k, top_p: see :class:`Sampling`.
        seed: of the first sample; sample ``i`` is what ``seed + i`` gives alone. The same seed gives the same
            text on the same machine.
        count: so many samples.
        stop: a text, or several, before which a sample ends.
        tokenizer: of the model; a run has its own.
        watch: told the sample's number and each piece of its text as it comes, whole characters only.

    Raises:
        ConfigError: a setting out of range, an empty stop text, or a model without its tokenizer.
    """
    for name, value in (("tokens", tokens), ("count", count)):
        if value < 1:
            raise ConfigError(f"generate: {name} is {value}; it must be at least 1")
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in stops:
        raise ConfigError("generate: a stop text is empty")
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    if isinstance(source, SparseGPT):
        if tokenizer is None:
            raise ConfigError("generate: a model alone knows no text; give its tokenizer, or the run")
        model = source
    else:
        model, tokenizer = source.model().to_sparse(), tokenizer or source.tokenizer()
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
    writer = _Writer(model, tokenizer, sampling, stops, [tokenizer.eot_id, *ids], tokens)
    return [writer.write(seed + i, None if watch is None else _numbered(watch, i)) for i in range(count)]


def _numbered(watch: Callable[[int, str], None], number: int) -> Callable[[str], None]:
    return lambda text: watch(number, text)


def draw_tokens(
    model: SparseGPT, prompt: Sequence[int], sampling: Sampling, generator: torch.Generator
) -> Iterator[int]:
    """Token after token, without end.

    The model sees the last ``n_ctx`` tokens of what is there. Up to ``n_ctx`` tokens each step runs one token
    alone; beyond, the window moves on and the model runs on all of it again.

    Args:
        model: in evaluation mode.
        prompt: ids, at least one.
        sampling: how each is chosen.
        generator: on the CPU, wherever the model is.
    """
    device = model.transformer.get_parameter("wte.weight").device
    ids, n_ctx = list(prompt), model.config.n_ctx
    cache = KVCache(model.config)
    while True:
        seen = ids[-n_ctx:]
        if len(ids) > n_ctx:
            cache = KVCache(model.config)
        fresh = torch.tensor([seen[cache.length :]], device=device)
        at = torch.tensor([fresh.shape[1] - 1], device=device)
        with torch.no_grad():
            chances = sampling.chances(model(fresh, at, cache=cache)[0].float().cpu())
        ids.append(int(torch.multinomial(chances, 1, generator=generator)))
        yield ids[-1]


@dataclass(frozen=True)
class _Writer:
    """Everything about a text that is to be written but its seed."""

    model: SparseGPT
    tokenizer: Tokenizer
    sampling: Sampling
    stops: tuple[str, ...]
    prompt: list[int]
    most: int

    def write(self, seed: int, watch: Callable[[str], None] | None) -> Sample:
        """Draw until the document ends, a stop text is there, or it is long enough."""
        generator = torch.Generator().manual_seed(seed)
        ids: list[int] = []
        text, shown, ended = "", 0, "length"
        characters = Characters(self.tokenizer)
        for token in draw_tokens(self.model, self.prompt, self.sampling, generator):
            if token == self.tokenizer.eot_id:
                ended = "document"
                break
            ids.append(token)
            text += characters.add(token)
            cut = first_of(self.stops, text)
            if cut is not None:
                text, ended = text[:cut], "stop"
                break
            if watch is not None and (ready := len(text) - held_back(self.stops, text)) > shown:
                watch(text[shown:ready])
                shown = ready
            if len(ids) == self.most:
                break
        if ended != "stop":
            text += characters.rest()
        if watch is not None and len(text) > shown:
            watch(text[shown:])
        return Sample(text, tuple(ids), seed, ended)


class Characters:
    """Tokens in, whole characters out: a character may be spread over several tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        """What is certain with this token: a character that it does not end waits for the next."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def rest(self) -> str:
        """What was still waiting at the end."""
        return self._decoder.decode(b"", final=True)


def first_of(stops: Iterable[str], text: str) -> int | None:
    """Where the first of the stop texts begins, if one of them is there.

    >>> first_of(["cd", "b"], "abcd"), first_of(["x"], "abcd")
    (1, None)
    """
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return min(found, default=None)


def held_back(stops: Iterable[str], text: str) -> int:
    r"""How many characters at the end of ``text`` may become one of the stop texts.

    >>> held_back(["\n\n"], "x = 1\n"), held_back(["\n\n"], "x = 1")
    (1, 0)
    """
    return max((n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
