"""The prompts of the five programs: one character is one token.

Every prompt is filler with a few characters that matter. Filler is letters of the split's own (so that no
prompt of one split is a prompt of another) and characters that matter to *other* programs, so that those are
at work on the same prompt and their nodes are live.

============  ==================  =========  ==============================================
task          left prompt         answer     what differs on the right
============  ==================  =========  ==============================================
quote         ``a[b'cmd``         ``'``      ``"`` for ``'``
depth         ``a[bc'd``          ``1``      a second ``[`` for a letter
variable      ``ax=sby=tcx``      ``+``      ``t`` for the asked variable's ``s``: ``-``
induction     ``apqbruc[p``       ``q``      what follows the first ``p``
bigram        ``a[bxcm``          ``!``      ``n`` for ``m`` at the end: ``?``
============  ==================  =========  ==============================================
"""

from __future__ import annotations

import functools
import random

import numpy as np

from sparsecircuits.data.idioms.names import SPLITS, Split
from sparsecircuits.data.tokenizer import SMALLEST_VOCABULARY, Tokenizer, train_tokenizer
from sparsecircuits.tasks.pairs import Task, TextPair

#: Letters of filler.
LETTERS: dict[Split, str] = {"train": "abcd", "validation": "efgh", "heldout": "ijkl"}
#: Characters that matter to a program, which its own filler must do without.
MATTER = {"quote": "'\"", "depth": "[", "variable": "xyst=", "induction": "pqru", "bigram": "mn"}
#: The letter that shares no bit with each in ``induction``, where the answers of a pair differ in one bit.
UNLIKE = {"p": "u", "q": "r", "r": "q", "u": "p"}
#: Characters of a prompt, without ``<|endoftext|>``.
SHORTEST, LONGEST = 11, 21
#: Documents of the corpus, for each task and split.
DOCUMENTS = 24


class _Filler:
    """Draws filler for one prompt."""

    def __init__(self, task: str, rng: random.Random, split: Split) -> None:
        others = "".join(characters for name, characters in MATTER.items() if name != task)
        self.rng, self.letters, self.any = rng, LETTERS[split], LETTERS[split] * 3 + others

    def letter(self) -> str:
        return self.rng.choice(self.letters)

    def pieces(self, parts: int, room: int, used: int) -> list[str]:
        """``parts`` pieces of filler, one of them a letter at least, for a prompt of about ``room``."""
        total = min(max(room, SHORTEST), LONGEST) - used
        cuts = sorted(self.rng.randint(0, total - 1) for _ in range(parts - 1))
        text = self.letter() + "".join(self.rng.choice(self.any) for _ in range(total - 1))
        edges = [0, *(cut + 1 for cut in cuts), total]
        return [text[start:end] for start, end in zip(edges[:-1], edges[1:], strict=True)]


def _quote(rng: random.Random, split: Split, room: int) -> TextPair:
    filler = _Filler("quote", rng, split)
    before, after = filler.pieces(2, room, 2)
    after += filler.letter()
    return TextPair(f"{before}'{after}", f'{before}"{after}', "'", '"', "…<<'|\">>…")


def _depth(rng: random.Random, split: Split, room: int) -> TextPair:
    filler = _Filler("depth", rng, split)
    before, between, after = filler.pieces(3, room, 3)
    letter, last = filler.letter(), filler.letter()
    one, two = rng.sample([f"[{between}{letter}", f"{letter}{between}["], 2)[0], f"[{between}["
    return TextPair(
        f"{before}{one}{after}{last}", f"{before}{two}{after}{last}", "1", "2", "…[…<<letter|[>>…"
    )


def _variable(rng: random.Random, split: Split, room: int) -> TextPair:
    before, between, after = _Filler("variable", rng, split).pieces(3, room, 7)
    asked, other = rng.sample("xy", 2)
    kind = rng.choice("st")
    first = rng.random() < 0.5

    def prompt(own: str) -> str:
        sets = [f"{asked}={own}", f"{other}={kind}"]
        one, two = sets if first else sets[::-1]
        return f"{before}{one}{between}{two}{after}{asked}"

    return TextPair(prompt("s"), prompt("t"), "+", "-", "…$v=<<s|t>>…$v")


def _induction(rng: random.Random, split: Split, room: int) -> TextPair:
    before, between, after = _Filler("induction", rng, split).pieces(3, room, 5)
    asked, other = rng.sample(MATTER["induction"], 2)
    unlike = UNLIKE[asked]
    left, right = rng.sample([unlike, rng.choice([a for a in UNLIKE if a not in (asked, unlike)])], 2)
    beside = rng.choice([letter for letter in MATTER["induction"] if letter not in (asked, other)])
    first = rng.random() < 0.5

    def prompt(follows: str) -> str:
        known = [f"{asked}{follows}", f"{other}{beside}"]
        one, two = known if first else known[::-1]
        # A letter of filler between the two, so that no third pair arises where they meet.
        return f"{before}{one}{between or LETTERS[split][0]}{two}{after}{asked}"

    return TextPair(prompt(left), prompt(right), left, right, "…$k<<$a|$b>>…$k")


def _bigram(rng: random.Random, split: Split, room: int) -> TextPair:
    (before,) = _Filler("bigram", rng, split).pieces(1, room, 1)
    return TextPair(f"{before}m", f"{before}n", "!", "?", "…<<m|n>>")


QUOTE = Task("quote", "closes the quote that was opened", "contrast", _quote)
DEPTH = Task("depth", "says whether one or two brackets are open", "contrast", _depth)
VARIABLE = Task("variable", "recalls to which of two kinds a variable was set", "contrast", _variable)
INDUCTION = Task("induction", "repeats what followed the last letter before", "contrast", _induction)
BIGRAM = Task("bigram", "goes by the last character alone", "contrast", _bigram, same_last=False)


@functools.cache
def byte_tokenizer() -> Tokenizer:
    """One token per byte, and ``<|endoftext|>``."""
    return train_tokenizer([], vocab_size=SMALLEST_VOCABULARY)


@functools.cache
def corpus() -> np.ndarray:
    """[tokens] what stands in for training text: prompts of all tasks and splits with their answers."""
    tokenizer, rng = byte_tokenizer(), random.Random("planted corpus")
    texts = []
    for task in (QUOTE, DEPTH, VARIABLE, INDUCTION, BIGRAM):
        for split in SPLITS:
            for pair in task.texts(split, DOCUMENTS, seed=1):
                texts += [pair.left + pair.left_answer, pair.right + pair.right_answer]
    rng.shuffle(texts)
    ids = [token for text in texts for token in (tokenizer.eot_id, *tokenizer.encode(text))]
    return np.array(ids, dtype=np.uint16)
