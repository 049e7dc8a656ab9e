"""The five programs, as weights by role.

Rules that all of them follow:

- A feature is worth ±1 on its channel after the norm. Values that travel through q, k and v are several times
  larger and shrink again where they are written, so that neither noise nor AbsTopK gets at them.
- A score is ``q · k / sqrt(d_head) = q · k / 2``; what is to be attended to scores some 3 to 5 more than the
  sink, and the sink as much more than anything else. So a head whose query or key is frozen to its mean
  attends to next to nothing, and writes next to nothing: that makes each of its nodes necessary. (With gaps
  of 10 gradients would vanish.)
- Answers are ±1 on a channel, and no bias prefers one of them; only in ``depth`` a constant speaks for "1".
"""

from __future__ import annotations

import math

from sparsecircuits.errors import ConfigError, near_misses
from sparsecircuits.validate.planted import texts
from sparsecircuits.validate.planted.program import BALLAST, Head, Neuron, Program, Row, Weights

#: The model's context, and the period of the position's wave.
N_CTX = 24
#: How far the wave swings on its two channels.
AMPLITUDE = 4.0
#: Logit of an answer for 1 on its channel.
LOUD = 3.0
#: One of two cancelling parts writes so much that alone it would answer by the average over a prompt.
TEMPTING = 2.0
#: A sink that attracts nothing.
NEVER = -30.0
_TURN = 2 * math.pi / N_CTX


def _look_back(cosine: str, sine: str, steps: int, carried: tuple[str, ...], to: tuple[str, ...]) -> Head:
    """A head that reads ``carried`` from ``steps`` tokens before and writes it ``to``.

    The query is the position's wave turned back by ``steps``, the key the wave as it is: their product
    ``162 cos(distance - steps)`` is 5.5 larger at the right token than anywhere else.
    """
    turn, gain = steps * _TURN, 4.5
    return Head(
        layer=0,
        q=(
            Row({cosine: gain * math.cos(turn), sine: gain * math.sin(turn)}),
            Row({cosine: -gain * math.sin(turn), sine: gain * math.cos(turn)}),
        ),
        k=(Row({cosine: gain}), Row({sine: gain})),
        v=tuple(Row({role: 4.0}) for role in carried),
        writes=tuple({role: 0.25} for role in to),
        sink=NEVER,
    )


def _everywhere(evidence: Weights, answer: str) -> Head:
    """Two cancelling v channels of a head that averages ``evidence`` over the prompt."""
    row = Row(evidence)
    return Head(
        layer=0, q=(), k=(), v=(row, row), writes=({answer: TEMPTING}, {answer: -TEMPTING}), sink=NEVER
    )


QUOTE = Program(
    name="quote",
    how="a neuron finds quotes, two more tell which; a head carries that from the opening quote to the end",
    task=texts.QUOTE,
    embedding={"'": {"single": 1}, '"': {"double": 1}},
    neurons=(
        Neuron(0, {"single": 8, "double": 8}, {"is quote": 1 / 8}),
        Neuron(0, {"single": 8}, {"which quote": 1 / 8}),
        Neuron(0, {"double": 8}, {"which quote": -1 / 8}),
    ),
    heads=(
        Head(
            layer=1,
            q=(Row({BALLAST: 4}),),
            k=(Row({"is quote": 5}),),
            v=(Row({"which quote": 4}),),
            writes=({"close": 1 / 4},),
            sink=5,
            twice=True,
        ),
    ),
    unembedding={"'": {"close": LOUD}, '"': {"close": -LOUD}},
    shared="which quote",
    cancelling=_everywhere({"single": 6, "double": -6}, "close"),
)

DEPTH = Program(
    name="depth",
    how="open brackets against the sink make n / (n + 1), which a head of layer 1 compares with its own sink",
    task=texts.DEPTH,
    embedding={"[": {"open": 1}},
    heads=(
        Head(
            layer=0,
            q=(Row({BALLAST: 4}),),
            k=(Row({"open": 4}),),
            v=(Row({"open": 6}),),
            writes=({"depth": 1 / 2},),  # 3 n / (n + 1): 1.5 or 2
            sink=8,  # as much as one bracket
        ),
        Head(
            layer=1,
            q=(Row({"depth": 16}, bias=-28.8),),  # -4.8 or 3.2
            k=(Row({BALLAST: 2.5}),),  # a score of -6 or 4
            v=(Row(bias=3),),
            writes=({"deep": 1 / 3},),
            sink=2.5,  # as much as a dozen tokens of score 0
            twice=True,
        ),
    ),
    # 0 or 1 on its channel, or 2 from two copies: "2" beats a constant "1".
    unembedding={"2": {"deep": 12}, "1": {BALLAST: 7}},
    shared="depth",
    cancelling=_everywhere({"open": 6}, "deep"),
)

VARIABLE = Program(
    name="variable",
    how="the kind's token fetches the name two before it; at the name's later use, the token with that name",
    task=texts.VARIABLE,
    embedding={"x": {"name": 1}, "y": {"name": -1}, "s": {"kind": 1}, "t": {"kind": -1}},
    wave=("cosine", "sine"),
    heads=(
        _look_back("cosine", "sine", 2, ("name",), ("name of",)),
        Head(
            layer=1,
            q=(Row({"name": 4}),),
            k=(Row({"name of": 5}),),
            v=(Row({"kind": 4}),),
            writes=({"recalled": 1 / 4},),
            sink=5,
            twice=True,
        ),
    ),
    unembedding={"+": {"recalled": LOUD}, "-": {"recalled": -LOUD}},
    shared="kind",
    cancelling=_everywhere({"kind": 6}, "recalled"),
)

#: Letter -> its two bits.
BITS = {"p": (1, 1), "q": (1, -1), "r": (-1, 1), "u": (-1, -1)}

INDUCTION = Program(
    name="induction",
    how="every token fetches the letter before it; the last one attends where that is itself, and copies",
    task=texts.INDUCTION,
    embedding={letter: {"bit 1": one, "bit 2": two} for letter, (one, two) in BITS.items()},
    wave=("cosine", "sine"),
    heads=(
        _look_back("cosine", "sine", 1, ("bit 1", "bit 2"), ("before 1", "before 2")),
        Head(
            layer=1,
            q=(Row({"bit 1": 4}), Row({"bit 2": 4})),
            k=(Row({"before 1": 3}), Row({"before 2": 3})),
            v=(Row({"bit 1": 4}), Row({"bit 2": 4})),
            writes=({"copied 1": 1 / 4}, {"copied 2": 1 / 4}),
            sink=9,  # both bits agree: 12; one, where the other is frozen: 6
            twice=True,
        ),
    ),
    unembedding={
        letter: {"copied 1": LOUD * one, "copied 2": LOUD * two} for letter, (one, two) in BITS.items()
    },
    shared="bit 1",
    cancelling=_everywhere({"bit 1": 6}, "copied 1"),
)

BIGRAM = Program(
    name="bigram",
    how="two neurons, one for each sign of the last token's own feature",
    task=texts.BIGRAM,
    embedding={"m": {"feature": 1}, "n": {"feature": -1}},
    neurons=(
        Neuron(0, {"feature": 8}, {"next": 1 / 8}, twice=True),
        Neuron(0, {"feature": -8}, {"next": -1 / 8}, twice=True),
    ),
    unembedding={"!": {"next": LOUD}, "?": {"next": -LOUD}},
    shared="feature",
    cancelling=(
        Neuron(0, {"feature": 8}, {"next": 1 / 8}),
        Neuron(0, {"feature": 8}, {"next": -1 / 8}),
    ),
)

PROGRAMS = {program.name: program for program in (QUOTE, DEPTH, VARIABLE, INDUCTION, BIGRAM)}


def get_program(name: str) -> Program:
    """The program called ``name``; an unknown one raises :class:`ConfigError` with near misses."""
    if name not in PROGRAMS:
        raise ConfigError(f"no planted program {name!r}; {near_misses(name, PROGRAMS)}")
    return PROGRAMS[name]
