"""A prompt, asked of three models at once: the whole one, the circuit alone, the whole one without it.

For a prompt and changes to nodes (:mod:`~sparsecircuits.viz.server.changes`), each of the three gives

1. the odds of the next token with and without the changes: the ten likeliest, and the task's candidates, over
   the whole vocabulary and between these alone (a circuit for a contrast says nothing of other tokens);
2. where a node is chosen, its activation at each token of the prompt, with and without.

Logits of the circuit are scaled as it was calibrated; a bias between two candidates is left out, as a typed
prompt has no left and right one. What was asked before the changes is kept for the next question.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.freezing import require_vector
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import Node, SparseGPT, record
from sparsecircuits.tasks import Task, TokenPairs
from sparsecircuits.viz.server.changes import Change, changed

#: Next tokens listed of each model.
TOP = 10
#: Held-out pairs to choose a prompt from, and those that candidates and ranges are taken from.
OFFERED, MEASURED = 12, 64
#: Candidates listed where a prompt is not one of the task's.
MOST_CANDIDATES = 6
#: Characters of a prompt; its tokens are as many as the model reads.
MOST_CHARACTERS = 20_000
#: Prompts whose odds without changes are kept.
_REMEMBERED = 32
_MAX_TOKENS = 64

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """The latest few of something, each made once; those that were not asked for longest go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """What was made for ``key``; making it if it is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return value

    def __len__(self) -> int:
        return len(self._kept)


class Reading(NamedTuple):
    """What one model says to one prompt.

    Attributes:
        log_odds: [vocab] log probability of each next token.
        activations: node -> [pos], of those that were asked for.
    """

    log_odds: Tensor
    activations: dict[Node, Tensor]


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt that a task offers, with the tokens that it is a question between."""

    text: str
    pair: int
    side: str
    tokens: tuple[int, ...]
    candidates: tuple[int, ...]


class Workbench:
    """One circuit and its model, ready to be asked. Not for two threads at once: hooks sit on the model.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        circuit: cut out of it.
        task: what the circuit does.

    Raises:
        CheckpointError: the circuit is of a model of another shape.
    """

    def __init__(self, model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task) -> None:
        for site in model.config.site_names():
            require_vector(circuit.frozen, str(site), model.config.width(site.site), "frozen values")
        self.model, self.tokenizer, self.circuit, self.task = model, tokenizer, circuit, task
        self._plain: Kept[tuple[Any, ...], Reading] = Kept(3 * _REMEMBERED)

    @functools.cached_property
    def pairs(self) -> TokenPairs:
        """Held-out pairs of the task, as its page draws them."""
        settings = self.circuit.info.get("config", {})
        longest = min(settings.get("max_tokens", _MAX_TOKENS), self.model.config.n_ctx)
        seed = settings.get("seed", 0)
        return self.task.pairs(self.tokenizer, "heldout", MEASURED, seed=seed, max_tokens=longest)

    @functools.cached_property
    def prompts(self) -> list[Prompt]:
        """Both prompts of some pairs."""
        found = []
        for pair in range(min(OFFERED, len(self.pairs))):
            for side, row in (("left", pair), ("right", pair + len(self.pairs))):
                tokens = self.pairs.tokens[row, : int(self.pairs.last[row]) + 1].tolist()
                rows = (pair, pair + len(self.pairs)) if self.pairs.form == "one_against_all" else (row,)
                named = [int(ids[at]) for at in rows for ids in (self.pairs.target, self.pairs.other)]
                candidates = tuple(dict.fromkeys(id for id in named if id >= 0))
                found.append(Prompt(self.tokenizer.decode(tokens[1:]), pair, side, tuple(tokens), candidates))
        return found

    @torch.no_grad()
    def ranges(self) -> dict[Node, tuple[float, float]]:
        """The least and the largest value of each of the circuit's nodes, in the whole model on the pairs."""
        nodes = sorted(self.circuit.nodes)
        with record(self.model, {str(node.at) for node in nodes}) as cache:
            self.model(self.pairs.tokens, self.pairs.last)
        real = torch.arange(self.pairs.tokens.shape[1]) <= self.pairs.last[:, None]
        found = {}
        for node in nodes:
            values = cache[str(node.at)][..., node.index][real]
            found[node] = (float(values.min()), float(values.max()))
        return found

    def encode(self, text: str) -> tuple[int, ...]:
        """A typed prompt as the model reads it, behind ``<|endoftext|>``.

        Raises:
            ConfigError: more than the model reads at once.
            DataError: text that no UTF-8 file holds.
        """
        if len(text) > MOST_CHARACTERS:
            raise ConfigError(f"the prompt has {len(text):,} characters; {MOST_CHARACTERS:,} are the most")
        tokens = (self.tokenizer.eot_id, *self.tokenizer.encode(text))
        most = self.model.config.n_ctx
        if len(tokens) > most:
            raise ConfigError(
                f"the prompt has {len(tokens)} tokens, its <|endoftext|> counted; the model reads {most}"
            )
        return tokens

    def candidates(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The next tokens that the task is about: of one of its prompts its own, otherwise the commonest."""
        own = next((prompt.candidates for prompt in self.prompts if prompt.tokens == tuple(tokens)), None)
        if own is not None:
            return own
        named = Counter(id for ids in (self.pairs.target, self.pairs.other) for id in ids.tolist() if id >= 0)
        return tuple(id for id, _ in named.most_common(MOST_CANDIDATES))

    def ask(
        self, tokens: Sequence[int], changes: Sequence[Change] = (), node: Node | None = None
    ) -> dict[str, Any]:
        """What the three models say, as plain data for the page.

        Args:
            tokens: of the prompt (:meth:`encode`).
            changes: made in all three.
            node: whose activations are told too.
        """
        ids, candidates = tuple(tokens), self.candidates(tokens)
        models = []
        for name in ("full", "circuit", "without"):
            before = self._plain.get((name, ids, node), functools.partial(self.read, name, ids, (), node))
            after = self.read(name, ids, changes, node) if changes else before
            top = after.log_odds.topk(min(TOP, len(after.log_odds))).indices.tolist()
            models.append(
                {
                    "name": name,
                    "top": [self._row(id, before, after) for id in top],
                    "candidates": self._candidates(candidates, before, after),
                    "activations": None if node is None else self._activations(node, before, after),
                }
            )
        return {"tokens": [self.tokenizer.text(id) for id in ids], "models": models}

    @torch.no_grad()
    def read(
        self, name: str, tokens: Sequence[int], changes: Sequence[Change] = (), node: Node | None = None
    ) -> Reading:
        """Run one of the models ``full``, ``circuit`` and ``without`` on a prompt."""
        ids = torch.tensor([list(tokens)])
        sites = [] if node is None else [str(node.at)]
        with (
            self._installed(name),
            changed(self.model, self.circuit, changes),
            record(self.model, sites) as cache,
        ):
            logits = self.model(ids, torch.tensor([len(tokens) - 1]))[0]
        scale = self.circuit.scale if name == "circuit" else 1.0
        live = {} if node is None else {node: cache[str(node.at)][0, :, node.index].clone()}
        return Reading(torch.log_softmax(scale * logits.double(), dim=-1).float(), live)

    def _installed(self, name: str) -> AbstractContextManager[None]:
        if name == "circuit":
            return self.circuit.installed(self.model)
        return self.circuit.removed(self.model) if name == "without" else nullcontext()

    def _row(self, id: int, before: Reading, after: Reading) -> dict[str, Any]:
        return {
            "text": self.tokenizer.text(id),
            "before": round(float(before.log_odds[id].exp()), 6),
            "after": round(float(after.log_odds[id].exp()), 6),
        }

    def _candidates(self, ids: Sequence[int], before: Reading, after: Reading) -> list[dict[str, Any]]:
        """Rows that tell each candidate's share among them too, where there are several."""
        rows = [self._row(id, before, after) for id in ids]
        if len(rows) > 1:
            for when, reading in (("before", before), ("after", after)):
                shares = torch.softmax(reading.log_odds[list(ids)].double(), dim=0)
                for row, share in zip(rows, shares.tolist(), strict=True):
                    row[f"share_{when}"] = round(share, 6)
        return rows

    def _activations(self, node: Node, before: Reading, after: Reading) -> dict[str, list[float]]:
        readings = {"before": before, "after": after}
        return {
            when: [round(value, 4) for value in reading.activations[node].tolist()]
            for when, reading in readings.items()
        }
