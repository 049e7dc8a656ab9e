"""A list of pairs: every row is one, and there are no others.

The steps:

1. each row is read on its own: all four texts there, none empty, no padding, prompts and answers different;
2. rows are compared: no pair twice, no prompt with two right answers, more than one right answer in the file;
3. each row goes to its split. Where rows name theirs, no prompt and no template may be in two; where none
   does, rows that share a prompt or a template stay together and are dealt (:mod:`.splits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sparsecircuits.data.idioms.names import SPLITS, Split
from sparsecircuits.errors import Place
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.own.source import PAIR_KEYS, Located, Row
from sparsecircuits.tasks.own.splits import groups, turns
from sparsecircuits.tasks.own.values import Header, prompt_of, split_of, text_of
from sparsecircuits.tasks.pairs import TextPair

FEWEST = {"train": 2, "validation": 1, "heldout": 1}
"""Pairs that a split needs: of ``train`` one is for the scale of the logits, another is measured."""


class Listed(NamedTuple):
    """A pair and the split that its row names."""

    pair: TextPair
    split: Split | None
    place: Place


def read_pairs(rows: Sequence[Row], header: Header, problems: Problems) -> dict[Split, tuple[TextPair, ...]]:
    """The pairs of every split; rows that are none are noted as problems and left out."""
    read = [(row, _pair(row, header, problems)) for row in rows]
    pairs = [pair for _, pair in read if pair is not None]
    if not rows:
        problems.add(Place(1), f"no pairs: each row has {', '.join(PAIR_KEYS)}")
        return {}
    _check_answers(rows, problems)
    _check_repeats(pairs, header, problems)
    split = _dealt(pairs, problems)
    if not problems.found:  # else the rows to blame are named already
        _check_counts(pairs, split, problems)
    return {
        name: tuple(each.pair for each, own in zip(pairs, split, strict=True) if own == name)
        for name in SPLITS
        if name in split
    }


def _pair(row: Row, header: Header, problems: Problems) -> Listed | None:
    """One row, or None and what is wrong with it."""
    place, data = row.place, row.data
    missing = [key for key in PAIR_KEYS if key not in data]
    if missing:
        they = " and ".join(map(repr, missing))
        problems.add(place, f"missing {they}; a pair has {', '.join(PAIR_KEYS)}")
    texts: dict[str, str] = {}
    for key in PAIR_KEYS:
        read = text_of if key.endswith("answer") else prompt_of
        if key in data and (text := read(Located(data[key], place), key, problems)) is not None:
            texts[key] = text
    template = text_of(Located(data["template"], place), "template", problems) if "template" in data else ""
    split = data.get("split")
    known = "split" not in data or split_of(split, place, problems)
    differ = [
        _prompts_differ(texts, header.same_last, place, problems),
        _answers_differ(texts, place, problems),
    ]
    if len(texts) < len(PAIR_KEYS) or template is None or not known or not all(differ):
        return None
    # Results count pairs by template; where a row names none, it is one of its own.
    left, right, left_answer, right_answer = (texts[key] for key in PAIR_KEYS)
    pair = TextPair(left, right, left_answer, right_answer, template or str(place), place=place)
    return Listed(pair, split, place)


def check_pair(pair: TextPair, same_last: bool, place: Place, problems: Problems) -> None:
    """Note what is wrong with a pair that was not read from a row."""
    texts: dict[str, str] = {key: getattr(pair, key) for key in PAIR_KEYS}
    for key, text in texts.items():
        read = text_of if key.endswith("answer") else prompt_of
        if read(Located(text, place), key, problems) is None:
            return
    _prompts_differ(texts, same_last, place, problems)
    _answers_differ(texts, place, problems)


def _answers_differ(texts: Mapping[str, str], place: Place, problems: Problems) -> bool:
    """Whether two answers are not the same; one that is missing is said elsewhere."""
    answers = [texts.get("left_answer"), texts.get("right_answer")]
    if None in answers or answers[0] != answers[1]:
        return True
    problems.add(place, f"equal answers: left_answer and right_answer are both {answers[0]!r}")
    return False


def _prompts_differ(texts: Mapping[str, str], same_last: bool, place: Place, problems: Problems) -> bool:
    """Whether two prompts are not the same, nor told apart by spaces at their ends."""
    if "left" not in texts or "right" not in texts:
        return True
    left, right = texts["left"], texts["right"]
    before = [len(text) - len(text.lstrip(" ")) for text in (left, right)]
    behind = [len(text) - len(text.rstrip(" ")) for text in (left, right)]
    if left.strip(" ") == right.strip(" "):
        but = "are the same text" if left == right else "differ in nothing but spaces at their ends"
        problems.add(place, f"equal prompts: left and right {but}")
        return False
    if before[0] != before[1]:
        spaces = f"spaces in front, {before[0]} of left and {before[1]} of right"
        problems.add(place, f"padding: {spaces}; {_UNPADDED}")
    elif behind[0] != behind[1] and same_last:
        spaces = f"spaces at the end, {behind[0]} of left and {behind[1]} of right"
        problems.add(place, f"padding: {spaces}; {_UNPADDED}")
    return True


_UNPADDED = "prompts are made equally long by what they say"


def _check_answers(rows: Sequence[Row], problems: Problems) -> None:
    """A file in which one answer is always right asks nothing."""
    answers = {
        answer
        for row in rows
        for key in ("left_answer", "right_answer")
        if isinstance(answer := row.data.get(key), str)
    }
    if len(answers) == 1:
        problems.add(
            rows[0].place,
            f"all one label: {answers.pop()!r} is the only right answer of this row and of all others; "
            "a task needs two",
        )


def _check_repeats(pairs: Sequence[Listed], header: Header, problems: Problems) -> None:
    """No pair twice, and one right answer for each prompt."""
    seen: dict[frozenset[str], Place] = {}
    right_answer: dict[str, tuple[str, Place]] = {}
    for pair, _, place in pairs:
        both = frozenset((pair.left, pair.right))
        if both in seen:
            problems.add(place, f"the same pair as {seen[both]}")
            continue
        seen[both] = place
        answered = ((pair.left, pair.left_answer), (pair.right, pair.right_answer))
        for prompt, answer in answered if header.form == "contrast" else ():
            before, where = right_answer.setdefault(prompt, (answer, place))
            if before != answer:
                problems.add(
                    place, f"its answer to the prompt of {where} is {answer!r}; there it is {before!r}"
                )


def _dealt(pairs: Sequence[Listed], problems: Problems) -> list[Split]:
    """The split of every pair."""
    named = [each for each in pairs if each.split is not None]
    if not named:
        dealer = turns()
        number = groups([_shared(each.pair) for each in pairs])
        of_group: dict[int, Split] = {}
        for group in number:
            if group not in of_group:
                of_group[group] = next(dealer)
        return [of_group[group] for group in number]
    for each in pairs:
        if each.split is None:
            problems.add(
                each.place, f"no split, but {named[0].place} has one; give every row a split, or none"
            )
    _check_leaks(named, problems)
    return [each.split or "train" for each in pairs]


def _shared(pair: TextPair) -> list[tuple[str, str]]:
    """What no other split may have of a pair."""
    keys = [("prompt", pair.left), ("prompt", pair.right)]
    return keys if pair.template == str(pair.place) else [*keys, ("template", pair.template)]


def _check_leaks(named: Sequence[Listed], problems: Problems) -> None:
    """No prompt and no template in two splits."""
    first: dict[tuple[str, str], Listed] = {}
    for each in named:
        for kind, text in _shared(each.pair):
            other = first.setdefault((kind, text), each)
            if other.split != each.split:
                problems.add(
                    each.place,
                    f"leakage: its {kind} {text!r} is in {each.split} here and in {other.split} in "
                    f"{other.place}; splits share none",
                )


def _check_counts(pairs: Sequence[Listed], split: Sequence[Split], problems: Problems) -> None:
    """Every split has pairs enough."""
    for name, fewest in FEWEST.items():
        count = split.count(name)  # type: ignore[arg-type]
        if count >= fewest:
            continue
        reason = f"too few pairs: up to this last row {name} has {count}, and it needs {fewest}"
        if pairs[0].split is None:
            reason += "; no row names its split, so rows with a prompt or a template in common went to one"
        problems.add(pairs[-1].place, reason)
