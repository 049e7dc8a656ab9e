"""T25, bounded exhaustive check: circuit, model and stated program on *every* input of a small domain.

All other tests draw prompts. Here a :class:`Domain` lists them all, such as every text of at most n tokens
over an alphabet of s; a million at most. On each of them the circuit's preferred candidate is compared with
the full model's and, where there is one, with that of a program in plain Python (the *oracle*). A single
disagreement fails the test; so one that passes proves that circuit and model give the same answers there.
(After Somani 2025, where a surrogate of the circuit is compared with it; here it is the model.)

Domains: :func:`all_prompts` makes prompts of any alphabet, :func:`quote_domain` those of a real task, and
:func:`~sparsecircuits.validate.planted.domain.planted_domain` those of a planted program.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import ConfigError, TaskError
from sparsecircuits.model import Prompts, SparseGPT
from sparsecircuits.tasks.strings import SINGLE_DOUBLE_QUOTE
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.subject import Subject

#: Inputs of a domain at most.
MOST = 1_000_000
#: Prompts that run together.
ROWS = 512
#: Disagreements that are told in full.
TOLD = 20
#: The control, a random circuit, runs on so many of the prompts, evenly spaced.
CONTROL_PROMPTS = 4096

#: Token ids of a prompt to the right candidate's id.
Oracle = Callable[[Sequence[int]], int]


class Domain(NamedTuple):
    """All inputs of some kind.

    Attributes:
        prompts: token ids, ``<|endoftext|>`` included.
        candidates: ids of the answers to choose from, that of the task's left one first.
        oracle: the stated program; None: there is none.
        about: which inputs these are, in words.
    """

    prompts: Sequence[tuple[int, ...]]
    candidates: tuple[int, ...]
    oracle: Oracle | None = None
    about: str = ""


@torch.no_grad()
def exhaustive(subject: Subject, domain: Domain) -> Outcome:
    """Judge T25: the share of a domain on which circuit and full model prefer the same candidate.

    It passes if that is all of it, and the circuit also prefers what the oracle says, if there is one.

    Raises:
        ConfigError: no inputs, too many, or fewer than two candidates; inputs that are longer than the
            model's context.
    """
    prompts, candidates, oracle, about = domain
    if not 0 < len(prompts) <= MOST or len(set(candidates)) < 2:
        raise ConfigError(
            f"{len(prompts)} prompts and {len(set(candidates))} candidates; a domain has from 1 to {MOST} "
            "prompts and at least two candidates"
        )
    circuit = choices(subject.model, prompts, candidates, subject.circuit)
    model = choices(subject.model, prompts, candidates)
    wrong = circuit != model
    program = None
    if oracle is not None:
        program = torch.tensor([candidates.index(oracle(prompt)) for prompt in prompts])
        wrong |= circuit != program
    told = torch.nonzero(wrong).flatten()[:TOLD].tolist()

    def tell(place: int) -> dict[str, str]:
        said = {"circuit": circuit, "model": model, **({} if program is None else {"program": program})}
        answers = {who: subject.tokenizer.text(candidates[int(what[place])]) for who, what in said.items()}
        return {"prompt": subject.tokenizer.decode(prompts[place][1:]), **answers}

    return Outcome(
        test="T25",
        estimate=float((circuit == model).double().mean()),
        control=_control(subject, domain, model),
        passed=not bool(wrong.any()),
        figures={
            "inputs": len(prompts),
            "circuit_against_model": int((circuit != model).sum()),
            "circuit_against_program": None if program is None else int((circuit != program).sum()),
            "model_against_program": None if program is None else int((model != program).sum()),
            "disagreements": [tell(place) for place in told],
        },
        settings={
            "domain": about,
            "inputs": len(prompts),
            "longest": max(map(len, prompts)),
            "candidates": [subject.tokenizer.text(candidate) for candidate in candidates],
            "ablated": "all but the circuit",
            "values": "frozen values of the circuit",
            "positions": "every token",
            "norms": "live",
            "control": f"a random circuit of equal profile, on {CONTROL_PROMPTS} of the inputs at most",
            "seed": subject.seed,
        },
    )


def choices(
    model: SparseGPT,
    prompts: Sequence[Sequence[int]],
    candidates: Sequence[int],
    circuit: Circuit | None = None,
) -> Tensor:
    """[prompts] which of ``candidates`` the model, or the circuit of it, prefers after each prompt.

    A circuit's bias, if it has one, is added to the first candidate's logit.
    """
    if circuit is not None:
        with circuit.installed(model, sealed=True):
            return _choices(model, prompts, candidates, circuit.bias / circuit.scale)
    return _choices(model, prompts, candidates, 0.0)


def _choices(
    model: SparseGPT, prompts: Sequence[Sequence[int]], candidates: Sequence[int], bias: float
) -> Tensor:
    found, columns = [], torch.tensor(candidates)
    for start in range(0, len(prompts), ROWS):
        some = prompts[start : start + ROWS]
        last = torch.tensor([len(prompt) - 1 for prompt in some])
        width = int(last.max()) + 1
        tokens = torch.tensor([[*prompt, *[prompt[0]] * (width - len(prompt))] for prompt in some])
        logits = model.answers(Prompts.of(tokens, last))[:, columns]
        logits[:, 0] += bias
        found.append(logits.argmax(1))
    return torch.cat(found)


def _control(subject: Subject, domain: Domain, model: Tensor) -> float:
    """Share of agreement of a random circuit with the model."""
    (random,) = subject.random_circuits(1)
    step = -(-len(domain.prompts) // CONTROL_PROMPTS)
    found = choices(subject.model, domain.prompts[::step], domain.candidates, random)
    return float((found == model[::step]).double().mean())


def all_prompts(
    prefix: Sequence[int],
    alphabet: Sequence[int],
    length: int,
    suffix: Sequence[int] = (),
    *,
    shortest: int = 0,
) -> Iterator[tuple[int, ...]]:
    """Every prompt ``prefix``, then from ``shortest`` to ``length`` tokens of ``alphabet``, then ``suffix``.

    Shorter ones come first, those of a length in the alphabet's order.

    Raises:
        ConfigError: more than a million.

    >>> list(all_prompts([9], [1, 2], 1))
    [(9,), (9, 1), (9, 2)]
    """
    lengths = range(shortest, length + 1)
    count = sum(len(alphabet) ** many for many in lengths)
    if count > MOST:
        raise ConfigError(
            f"{count} prompts of up to {length} tokens of {len(alphabet)}; at most {MOST} can be checked"
        )
    return (
        (*prefix, *middle, *suffix) for many in lengths for middle in itertools.product(alphabet, repeat=many)
    )


def quote_domain(
    tokenizer: TextTokenizer, *, openings: int = 2, alphabet: int = 6, longest: int = 3, max_tokens: int = 48
) -> Domain:
    """Calls that open a string, as the task ``single_double_quote`` has them, and then any words.

    The program is: close with the mark that was opened.

    Args:
        tokenizer: the model's.
        openings: so many held-out pairs of the task, each prompt up to its mark.
        alphabet: so many tokens make up the string: of those of small letters alone, the most frequent in the
            task's own strings.
        longest: tokens of the string at most, one at least.
        max_tokens: longest prompt of the task that an opening is taken from.

    Raises:
        ConfigError: more than a million prompts.
        TaskError: the task does not fit the tokenizer, or its strings have not as many such tokens.
    """
    pairs = SINGLE_DOUBLE_QUOTE.pairs(tokenizer, "heldout", max(256, openings), max_tokens=max_tokens)
    marks = pairs.marked.int().argmax(1).repeat(2).tolist()
    rows = [
        (row[: mark + 1], row[mark + 1 : last + 1])
        for row, mark, last in zip(pairs.tokens.tolist(), marks, pairs.last.tolist(), strict=True)
    ]
    counts = Counter(token for _, string in rows for token in string)
    words = [token for token, _ in counts.most_common() if re.fullmatch("[a-z]+", tokenizer.text(token))]
    if len(words) < alphabet:
        raise TaskError(f"its strings have {len(words)} tokens of small letters; {alphabet} are meant")
    answers: dict[tuple[int, ...], int] = {}
    prompts: list[tuple[int, ...]] = []
    for row in (side * len(pairs) + pair for pair in range(openings) for side in (0, 1)):
        opening = tuple(rows[row][0])
        answers[opening] = int(pairs.target[row])
        prompts += all_prompts(opening, words[:alphabet], longest, shortest=1)
    opened = sorted(answers, key=len, reverse=True)

    def closes(prompt: Sequence[int]) -> int:
        return next(answers[opening] for opening in opened if tuple(prompt[: len(opening)]) == opening)

    shown = " ".join(tokenizer.text(word) for word in words[:alphabet])
    about = f"{2 * openings} prompts up to the quotation mark, then 1 to {longest} of the tokens {shown}"
    return Domain(prompts, (int(pairs.target[0]), int(pairs.other[0])), closes, about)
