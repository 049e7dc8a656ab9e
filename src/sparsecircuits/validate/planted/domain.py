"""Every short prompt of a planted program, and its answer in plain Python (for the bounded exhaustive check).

A program's domain are the prompts on which its task is defined, as ``texts`` draws them, with ``·`` for any
character of filler:

============  ==================================================  =======================================
program       prompts                                             the answer
============  ==================================================  =======================================
quote         one mark, with filler before and after              that mark
depth         one or two ``[``, filler at both ends               how many
variable      ``·x=s·y=t·x``: two names, set in either order      ``+`` if the last name was set to ``s``
induction     ``·pq·ru·p``: two letters and what follows each     what followed the last letter
bigram        filler, then ``m`` or ``n``                         ``!`` for ``m``
============  ==================================================  =======================================
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from sparsecircuits.errors import ConfigError
from sparsecircuits.validate.exhaustive import MOST, Domain
from sparsecircuits.validate.planted.plant import PlantedModel
from sparsecircuits.validate.planted.programs import N_CTX
from sparsecircuits.validate.planted.texts import MATTER

#: A prompt's frame: characters that matter, and between them how much filler there is at least.
Frame = tuple[str | int, ...]

#: Program -> its answers, the left one's of its task first.
ANSWERS = {"quote": "'\"", "depth": "12", "variable": "+-", "induction": "pqru", "bigram": "!?"}


def planted_domain(planted: PlantedModel, longest: int, *, filler: str = "i") -> Domain:
    """All prompts of the program of at most ``longest`` characters.

    Args:
        planted: whose program is meant.
        longest: at most 23, the model's context less one for ``<|endoftext|>``.
        filler: characters that do not matter to the program, though they may to others.

    Raises:
        ConfigError: filler that matters to the program, prompts too long, none, or more than a million.
    """
    name, tokenizer = planted.program.name, planted.tokenizer
    if not filler or set(filler) & set(MATTER[name]):
        raise ConfigError(f"filler {filler!r}; some character that does not matter to {name} is needed")
    if longest >= N_CTX:
        raise ConfigError(f"prompts of {longest} characters; the model has room for {N_CTX - 1}")
    count = sum(_count(frame, longest, len(filler)) for frame in _frames(name))
    if not 0 < count <= MOST:
        raise ConfigError(f"{count} prompts of {name} with {longest} characters; from 1 to {MOST} are meant")
    texts = sorted((text for frame in _frames(name) for text in _filled(frame, longest, filler)), key=len)
    ids = {character: tokenizer.encode(character)[0] for character in ANSWERS[name]}
    return Domain(
        prompts=[(tokenizer.eot_id, *ids_of) for ids_of in tokenizer.encode_batch(texts)],
        candidates=tuple(ids.values()),
        oracle=lambda prompt: ids[answer(name, tokenizer.decode(prompt[1:]))],
        about=f"all prompts of {name} of at most {longest} characters with the filler {filler}",
    )


def answer(program: str, text: str) -> str:
    """What the program says after ``text``, without any model.

    >>> answer("variable", "ix=siy=tix")
    '+'
    """
    last = text[-1]
    if program == "quote":
        return next(character for character in text if character in "'\"")
    if program == "depth":
        return str(text.count("["))
    if program == "variable":
        return {"s": "+", "t": "-"}[text[text.index(f"{last}=") + 2]]
    if program == "induction":
        return text[text.index(last) + 1]
    if program == "bigram":
        return {"m": "!", "n": "?"}[last]
    raise ConfigError(f"no planted program {program!r}; known: {', '.join(ANSWERS)}")


def _frames(program: str) -> Iterator[Frame]:
    if program == "quote":
        yield from ((1, mark, 1) for mark in "'\"")
    elif program == "depth":
        yield from ((1, "[", 1), (1, "[", 0, "[", 1))
    elif program == "variable":
        for (asked, other), own, beside, first in itertools.product(("xy", "yx"), "st", "st", (True, False)):
            one, two = _ordered(f"{asked}={own}", f"{other}={beside}", first)
            yield 1, one, 0, two, 0, asked
    elif program == "induction":
        for asked, other in itertools.permutations("pqru", 2):
            for own, beside, first in itertools.product("pqru", "pqru", (True, False)):
                if own != asked and beside not in (asked, other):
                    one, two = _ordered(f"{asked}{own}", f"{other}{beside}", first)
                    yield 1, one, 1, two, 0, asked
    elif program == "bigram":
        yield from ((1, character) for character in "mn")


def _ordered(one: str, two: str, as_is: bool) -> Sequence[str]:
    return (one, two) if as_is else (two, one)


def _count(frame: Frame, longest: int, filler: int) -> int:
    """How many texts :func:`_filled` gives, with so many characters of filler."""
    gaps = [part for part in frame if isinstance(part, int)]
    fixed = sum(len(part) for part in frame if isinstance(part, str))
    return sum(
        math.comb(many - sum(gaps) + len(gaps) - 1, len(gaps) - 1) * filler**many
        for many in range(sum(gaps), longest - fixed + 1)
    )


def _filled(frame: Frame, longest: int, filler: str) -> Iterator[str]:
    """Every text of at most ``longest`` characters with the frame's characters and filler between."""
    if not frame:
        yield ""
        return
    head, *tail = frame
    rest = tuple(tail)
    if isinstance(head, str):
        yield from (head + text for text in _filled(rest, longest - len(head), filler))
        return
    needed = sum(len(part) if isinstance(part, str) else part for part in rest)
    for many in range(head, longest - needed + 1):
        ends = list(_filled(rest, longest - many, filler))
        for piece in itertools.product(filler, repeat=many):
            yield from ("".join(piece) + text for text in ends)
