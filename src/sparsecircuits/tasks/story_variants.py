"""Shifted variants of the tasks in plain English: something that a shortcut would fall for stands in between.

As the variants in Python (:mod:`sparsecircuits.tasks.variants`), each asks the question of its task.

| variant | shift |
|---|---|
| ``pronoun:distractor`` | a person of the other kind is mentioned in the line before |
| ``quotation:distractor`` | speech in the other quotation marks has just been closed |
| ``number_agreement:attractor`` | a noun of the other number stands between, nearer than the subject |

Stories have two people each and, some of them, both quotation marks. Between subject and verb they have only
nouns in the singular: after one animal, a plural there is new to a model.
"""

from __future__ import annotations

from sparsecircuits.data.idioms.names import SPLITS
from sparsecircuits.tasks.pairs import Task
from sparsecircuits.tasks.stories import (
    NUMBER_AGREEMENT,
    OF_ALL_KINDS,
    PRONOUN,
    PRONOUN_PROMPTS,
    QUOTATION,
    QUOTATION_PROMPTS,
    WITHOUT_PEOPLE,
    joined,
    story_task,
)
from sparsecircuits.tasks.surroundings import Templates

OTHER_PERSON: Templates = {
    "train": ("<<$g|$b>> liked the $d.\n", "<<$g|$b>> had a $t.\n", "<<$g|$b>> was in the $l.\n"),
    "validation": ("<<$g|$b>> saw a $d.\n", "<<$g|$b>> found a $t in the $l.\n", "<<$g|$b>> had a $h $t.\n"),
    "heldout": ("<<$g|$b>> saw a $h $d.\n", "<<$g|$b>> found a $t.\n", "<<$g|$b>> went to the $l.\n"),
}
"""The names of a pair change places: both prompts have the same words, in another order."""

FINISHED_SPEECH: Templates = {
    "train": (
        "$p says, <<'|\">>I am $f.<<'|\">>\n",
        "The $d says, <<'|\">>I like the $t.<<'|\">>\n",
    ),
    "validation": (
        "The $d says, <<'|\">>I am $f.<<'|\">>\n",
        "$p says, <<'|\">>Here is the $t.<<'|\">>\n",
    ),
    "heldout": (
        "$p says to the $a, <<'|\">>I am $f.<<'|\">>\n",
        "Then $p says, <<'|\">>I see the $t.<<'|\">>\n",
    ),
}


def in_front(texts: Templates, prompts: Templates) -> Templates:
    """Every prompt behind one of its split's texts, in turn.

    >>> in_front(dict.fromkeys(SPLITS, ("x ", "y ")), dict.fromkeys(SPLITS, ("1", "2", "3")))["train"]
    ('x 1', 'y 2', 'x 3')
    """
    return {
        split: tuple(texts[split][i % len(texts[split])] + prompt for i, prompt in enumerate(prompts[split]))
        for split in SPLITS
    }


PRONOUN_DISTRACTOR = story_task(
    f"{PRONOUN.name}:distractor",
    "a person is called he or she by the name before, after a person of the other kind",
    answer="<< he| she>> was $f.\n",
    surroundings=WITHOUT_PEOPLE,
    templates=in_front(OTHER_PERSON, PRONOUN_PROMPTS),
)

QUOTATION_DISTRACTOR = story_task(
    f"{QUOTATION.name}:distractor",
    "speech closes with the quotation mark that opened it, after speech in the other marks",
    answer=".<<\"|'>>\n",
    surroundings=OF_ALL_KINDS,
    templates=in_front(FINISHED_SPEECH, QUOTATION_PROMPTS),
)

NUMBER_ATTRACTOR = story_task(
    f"{NUMBER_AGREEMENT.name}:attractor",
    "one animal is, several are, with a noun of the other number between",
    answer="<< is| are>> $f.\n",
    surroundings=OF_ALL_KINDS,
    templates=joined(
        ("The <<$a|$as>>", "My <<$a|$as>>", "The $h <<$a|$as>>", "My $h <<$a|$as>>"),
        (
            " near the <<$ds|$d>> in the $l",
            " near the <<$ds|$d>> by the $l",
            " by the <<$ds|$d>> in the $l",
            " with the <<$ds|$d>> near the $l",
        ),
    ),
)

STORY_VARIANTS: dict[str, Task] = {
    task.name: task for task in (PRONOUN_DISTRACTOR, QUOTATION_DISTRACTOR, NUMBER_ATTRACTOR)
}
"""Every variant of this suite by its full name."""
