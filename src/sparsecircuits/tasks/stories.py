"""Plain English: six tasks over simple stories.

| task | the model must choose |
|---|---|
| ``pronoun`` | `` he`` or `` she``: whom the sentences are about |
| ``indirect_object`` | which of two people is given something: the one who does not give |
| ``question_mark`` | ``?`` or ``.``: a question or a statement |
| ``tense`` | `` played`` or `` plays``: the words of time in front |
| ``quotation`` | ``."`` or ``.'``: how the speech was opened |
| ``number_agreement`` | `` is`` or `` are``: one animal or several, with other words between |

``indirect_object`` is the question of Wang et al. 2022 in simple words. The sentences are those of the made
source ``stories`` (:mod:`sparsecircuits.data.stories`), one to a line. Around a prompt stand sentences that
do not answer it: no people where people are asked for, no verbs where the tense is, no speech where a
quotation is. Shifted variants of three of them are in :mod:`sparsecircuits.tasks.story_variants`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sparsecircuits.data.idioms.names import SPLITS, Split
from sparsecircuits.data.stories.lexicon import STORY_SLOTS
from sparsecircuits.tasks.pairs import Task
from sparsecircuits.tasks.surroundings import Surroundings, Templates
from sparsecircuits.tasks.template import template_task

# Tables read better with several templates to a line.
# fmt: off

SHOUTS: Templates = {
    "train": ("Look at the $a!\n", "What a $o!\n", "Oh, the $h $a!\n"),
    "validation": ("Hello, $a!\n", "What a $h $a!\n", "Oh, the $o!\n"),
    "heldout": ("Good night, $a!\n", "Look at the $h $o!\n", "Hello, $h $a!\n"),
}
"""Lines without a verb in past or present, without people and without speech."""

PAST: Templates = {
    "train": ("The $a ran to the $l.\n", "The $h $a saw the $d.\n", "The $a had a $o.\n", "The $o was $h.\n"),
    "validation": ("A $h $a came to the $l.\n", "The $a saw the $h $d.\n", "The $a liked the $o.\n"),
    "heldout": ("There was a $h $a in the $l.\n", "The $h $a ran to the $l.\n", "The $a was $f.\n"),
}
PRESENT: Templates = {
    "train": (
        "The $a runs to the $l.\n", "The $h $a sees the $d.\n", "The $a has a $o.\n", "The $o is $h.\n",
    ),
    "validation": ("A $h $a comes to the $l.\n", "The $a sees the $h $d.\n", "The $a likes the $o.\n"),
    "heldout": ("There is a $h $a in the $l.\n", "The $h $a runs to the $l.\n", "The $a is $f.\n"),
}
PEOPLE: Templates = {
    "train": ("$p goes to the $l.\n", "$p likes the $a.\n", "$p is $f.\n"),
    "validation": ("$p sees a $h $a.\n", "$p finds a $o in the $l.\n", "$p has a $o.\n"),
    "heldout": ("$p has a $h $o.\n", "$p likes the $h $a.\n", "$p is in the $l.\n"),
}
"""People, in the present."""

WITHOUT_PEOPLE = Surroundings.of(SHOUTS, PAST)
WITHOUT_VERBS = Surroundings.of(SHOUTS)
OF_ALL_KINDS = Surroundings.of(SHOUTS, PRESENT, PEOPLE)

# fmt: on


def joined(beginnings: Sequence[str], endings: Sequence[str]) -> Templates:
    """Every beginning with every ending, dealt out so that the splits share no combination.

    Of four neighbours two go to ``train``, one to ``validation`` and one to ``heldout``, and each split
    has every beginning and every ending: a circuit chosen on ``train`` has met all of them.

    >>> joined(("A <<1|2>>", "B <<1|2>>"), (" w", " x", " y", " z"))["heldout"]
    ('A <<1|2>> z', 'B <<1|2>> y')
    """
    turns: tuple[Split, ...] = ("train", "train", "validation", "heldout")
    dealt: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for row, beginning in enumerate(beginnings):
        for column, ending in enumerate(endings):
            dealt[turns[(row + column) % 4]].append(beginning + ending)
    return {split: tuple(texts) for split, texts in dealt.items()}


def story_task(
    name: str, about: str, *, answer: str, templates: Templates, surroundings: Surroundings
) -> Task:
    """A task of this suite, whose templates have the slots of the stories."""
    return template_task(
        name,
        about,
        answer=answer,
        templates=templates,
        surroundings=surroundings,
        slots=STORY_SLOTS,
        suite="stories",
    )


PRONOUN_PROMPTS = joined(
    (
        "<<$b|$g>> saw the $a",
        "<<$b|$g>> had a $h $o",
        "<<$b|$g>> went to the $l",
        "<<$b|$g>> liked the $h $a",
    ),
    (" because", " and then", ".\nThen", ".\nSo"),
)
PRONOUN = story_task(
    "pronoun",
    "a person is called he or she by the name before",
    answer="<< he| she>> was $f.\n",
    surroundings=WITHOUT_PEOPLE,
    templates=PRONOUN_PROMPTS,
)

INDIRECT_OBJECT = story_task(
    "indirect_object",
    "of two people the one who gives nothing is given something",
    answer=" <<$n|$m>>.\n",
    surroundings=WITHOUT_PEOPLE,
    templates=joined(
        (
            "Then $m and $n saw a $h $a.\n",
            "So $m and $n went to the $l.\n",
            "In the $l were $m and $n.\n",
            "The $a saw $m and $n.\n",
        ),
        (
            "<<$m|$n>> gave a $t to",
            "<<$m|$n>> showed the $d to",
            "<<$m|$n>> gave the $h $t to",
            "<<$m|$n>> showed the $h $t to",
        ),
    ),
)

QUESTION_MARK = story_task(
    "question_mark",
    "a question ends in a question mark, a statement in a full stop",
    answer="<<?|.>>\n",
    surroundings=OF_ALL_KINDS,
    templates=joined(
        ("<<Where|Here>> is", "<<Can you|You can>> see", "<<Who|$p>> sees", "<<Do you|We all>> like"),
        (" the $a", " the $h $o", " the $o in the $l", " the $a near the $o"),
    ),
)

TENSE = story_task(
    "tense",
    "after yesterday a verb is in the past, after today in the present",
    answer=" $v<<ed|s>> in the $l.\n",
    surroundings=WITHOUT_VERBS,
    templates=joined(
        ("<<Yesterday|Today>>", "<<One|Every>> day", "<<Last|Every>> week", "<<Long ago|Right now>>"),
        (" $p", " the $a", " the $h $a", " a $h $a"),
    ),
)

QUOTATION_PROMPTS = joined(
    (
        "$p says, <<\"|'>>I see",
        "The $a says, <<\"|'>>This is",
        "Then $p says, <<\"|'>>We all like",
        "$p says to the $a, <<\"|'>>Here is",
    ),
    (" the $d", " the $h $o", " the $o in the $l", " the $d near the $o"),
)
QUOTATION = story_task(
    "quotation",
    "speech closes with the quotation mark that opened it",
    answer=".<<\"|'>>\n",
    surroundings=OF_ALL_KINDS,
    templates=QUOTATION_PROMPTS,
)

NUMBER_AGREEMENT = story_task(
    "number_agreement",
    "one animal is, several are, with other words between",
    answer="<< is| are>> $f.\n",
    surroundings=OF_ALL_KINDS,
    templates=joined(
        ("The <<$a|$as>>", "My <<$a|$as>>", "The $h <<$a|$as>>", "My $h <<$a|$as>>"),
        (" in the $l", " near the $o", " with the $o", " by the $l"),
    ),
)

STORY_TASKS: dict[str, Task] = {
    task.name: task for task in (PRONOUN, INDIRECT_OBJECT, QUESTION_MARK, TENSE, QUOTATION, NUMBER_AGREEMENT)
}
"""Every task of the suite by its name."""
