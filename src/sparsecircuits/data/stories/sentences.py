"""The sentences as data: what a story is made of, one sentence to a line.

Slots are explained in :mod:`sparsecircuits.data.stories.lexicon`; a story has these besides:

==========  =======================================================
``$w $x``   he or she, He or She: the person ``$p``
``$r``      his or her: likewise
``$j``      boy or girl: likewise
``$q``      the other person of the story
``$u``      the quotation mark of the story
==========  =======================================================

``{went|goes}`` is a verb in the past and in the present: a story keeps to one of the two. Only sentences with
a word of time go by that word whatever the story is told in, so that nothing else tells their tense.
A table maps the name of a construction to its weight and its templates, as for the idioms.
"""

from __future__ import annotations

from itertools import product

from sparsecircuits.data.idioms.statements import Table


def each(*parts: tuple[str, ...]) -> tuple[str, ...]:
    """Every way to take one of each.

    >>> each(("A ", "The "), ("cat", "dog"))
    ('A cat', 'A dog', 'The cat', 'The dog')
    """
    return tuple("".join(chosen) for chosen in product(*parts))


THINGS_SEEN = (" the $a", " the $h $a", " the $h $o", " the $o in the $l", " the $a near the $o")
"""What is seen, liked or looked for."""

QUESTIONS = (
    *each(("Where {was|is}", "{Could|Can} you see", "Who {saw|sees}", "{Did|Do} you like"), THINGS_SEEN),
    "{Was|Is} the $a $f",
    "{Was|Is} the $h $a $f",
    "{Was|Is} $p $f",
)
ANSWERS = (
    *each(("Here {was|is}", "You {could|can} see", "$p {saw|sees}", "We all {liked|like}"), THINGS_SEEN),
    "The $a {was|is} $f",
    "The $h $a {was|is} $f",
    "$p {was|is} $f",
)
"""The same words as in the questions, in another order or behind another first word, and a full stop."""

# fmt: off
SENTENCES: Table = {
    "people": (
        10,
        (
            "$p {went|goes} to the $l.", "$p {saw|sees} a $h $a.", "$p {liked|likes} the $a.",
            "$p {had|has} a $h $o.", "$p {was|is} $f.", "$p {found|finds} a $o in the $l.",
            "$p {was|is} a $j.",
            "$p {liked|likes} $r $h $o.", "$p {lost|loses} $r $o.", "$p and $q {were|are} in the $l.",
            "$p and $q {had|have} a $o.",
        ),
    ),
    "animals": (
        9,
        (
            "The $a {ran|runs} to the $l.", "The $h $a {saw|sees} the $d.", "The $a {had|has} a $o.",
            "There {was|is} a $h $a in the $l.", "The $a {liked|likes} the $h $o.", "The $a {was|is} $f.",
            "A $h $a {came|comes} to the $l.", "The $o {was|is} $h.",
        ),
    ),
    "pronouns": (
        26,
        (
            *each(
                (
                    "$p {saw|sees} the $a", "$p {had|has} a $h $o", "$p {went|goes} to the $l",
                    "$p {was|is} $f", "$p $v{ed|s} in the $l", "$p {liked|likes} the $h $a",
                ),
                (
                    " because $w {was|is} $f.", " and then $w {went|goes} to the $l.",
                    ".\nThen $w $v{ed|s} in the $l.",
                    ".\nSo $w {was|is} $f.", ".\n$x {liked|likes} the $o.", " when $w {had|has} a $o.",
                ),
            ),
        ),
    ),
    "times": (
        34,
        each(
            ("Yesterday ", "One day ", "Last week ", "Long ago "),
            ("$p", "the $a", "the $h $a", "a $h $a"),
            (" $ved in the $l.", " $ved with the $o."),
        ) + each(
            ("Today ", "Every day ", "Every week ", "Right now "),
            ("$p", "the $a", "the $h $a", "a $h $a"),
            (" $vs in the $l.", " $vs with the $o."),
        ),
    ),
    "numbers": (
        26,
        each(
            (
                "The $a", "The $h $a", "My $a", "My $h $a", "Her $a", "His $h $a",
            ),
            (" in the $l {was|is}", " near the $o {was|is}", " with the $o {was|is}", " by the $l {was|is}"),
            (" $f.", " $h."),
        ) + each(
            (
                "The $as", "The $h $as", "My $as", "My $h $as", "Her $as", "His $h $as",
            ),
            (" in the $l {were|are}", " near the $o {were|are}", " with the $o {were|are}",
             " by the $l {were|are}"),
            (" $f.", " $h."),
        ) + ("The $as {saw|see} $p.", "The $as {were|are} $f.", "$p {had|has} two $os.",
        "$p {liked|likes} the $as."),
    ),
    "questions": (10, each(QUESTIONS, ("?",))),
    "answers": (10, each(ANSWERS, (".",))),
    "speech": (
        18,
        each(
            ("$p {said|says}, $u", "$p {said|says} to $q, $u", "$p {said|says} to the $a, $u",
             "The $a {said|says}, $u", "Then $p {said|says}, $u"),
            (
                *each(("I see", "I like", "This is", "Here is", "We all like"), THINGS_SEEN, (".$u",)),
                *each(("Where is", "Can you see", "Do you like"), THINGS_SEEN, ("?$u",)),
                "I am $f.$u", "Look at the $a!$u",
            ),
        ),
    ),
    "shouts": (
        9,
        ("Look at the $a!", "Look at the $h $o!", "What a $h $a!", "What a $o!", "Hello, $a!",
         "Oh, the $h $a!",
         "Good night, $a!", "Good night, $p!", "Hello, $p!", "Oh, the $o!"),
    ),
}

GIVING = each(
    (
        "Then $m and $n {saw|see} a $h $a.\n", "So $m and $n {went|go} to the $l.\n",
        "In the $l {were|are} $m and $n.\n", "The $a {saw|sees} $m and $n.\n",
    ),
    (
        "$m {gave|gives} a $t to $n.", "$m {gave|gives} the $h $t to $n.",
        "$m {showed|shows} the $d to $n.", "$m {showed|shows} the $h $t to $n.",
        "$n {gave|gives} a $t to $m.", "$n {gave|gives} the $h $t to $m.",
        "$n {showed|shows} the $d to $m.", "$n {showed|shows} the $h $t to $m.",
    ),
)
"""Scenes with two friends, of whom one gives something to the other. Every story has one. The names of the
giver at the start of a line and of the friends inside one are different tokens: a model without positions
sees by that who gives."""
