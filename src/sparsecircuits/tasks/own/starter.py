"""A file to begin with: a whole task that passes the check, with a comment on every line that one changes.

All three formats ask the same: how a variable grows that was set to ``str()`` or to ``set()``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sparsecircuits.errors import ConfigError, Place
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.own.values import check_name

Format = Literal["yaml", "jsonl", "py"]

YAML = r"""# A task: pairs of prompts that differ in one place, and what rightly follows each.
# Check it with: sparsecircuits task check @FILE@
name: @NAME@
about: what was set to str() grows by +=, what was set to set() by .add

# One token for the left prompt and one for the right, as the model's tokenizer cuts them.
answer: "<< +=|.add>>"

# <<left|right>> marks what differs. $noun is one of the nouns, $noun2 another, the same wherever it stands.
# Other words: $verb $letter $name $adjective $class, or your own: slots: {fruit: [apple, pear, plum]}
# Templates are dealt: of four the first and the last are for training, one is for validation, one held out.
templates:
  - "$noun = <<str|set>>()\nfor $letter in $noun2:\n    $noun"
  - "$noun = <<str|set>>()\nfor $letter in $verb($noun2):\n    $noun"
  - "$noun = <<str|set>>()\nfor $letter in $noun2.$noun3:\n    $noun"
  - "$noun = <<str|set>>()\nwhile $noun2:\n    $noun"

# Lines about other things around each prompt: python, stories, lines of your own, or false for none.
surroundings: python
"""

_PAIRS = (
    ("train", "item", "data"),
    ("train", "line", "word"),
    ("train", "user", "path"),
    ("train", "date", "page"),
    ("validation", "node", "city"),
    ("validation", "book", "room"),
    ("heldout", "total", "group"),
    ("heldout", "score", "event"),
)
_ROW = (
    r'{"left": "@A@ = str()\nfor x in @B@:\n    @A@", "left_answer": " +=", '
    r'"right": "@A@ = set()\nfor x in @B@:\n    @A@", "right_answer": ".add", "split": "@SPLIT@"}'
)
JSONL = "\n".join(
    [
        '{"name": "@NAME@", "about": "what was set to str() grows by +=, what was set to set() by .add"}',
        *(_ROW.replace("@SPLIT@", split).replace("@A@", a).replace("@B@", b) for split, a, b in _PAIRS),
        "",
    ]
)

PYTHON = r'''"""A task as a function. Check it with: sparsecircuits task check @FILE@"""

from sparsecircuits.tasks import TextPair, own_task

# Each split has words of its own, so that a circuit is measured on prompts that it was not chosen on.
WORDS = {
    "train": ("item", "data", "line", "word", "user", "path", "date", "page"),
    "validation": ("node", "city", "book", "room"),
    "heldout": ("total", "group", "score", "event"),
}


@own_task(name="@NAME@")
def draw(rng, split):
    """what was set to str() grows by +=, what was set to set() by .add"""
    first, second = rng.sample(WORDS[split], 2)
    loop = f"for x in {second}:\n    {first}"
    # Two prompts that are equally long in tokens and end in the same one; each answer is one token.
    return TextPair(
        left=f"{first} = str()\n{loop}",
        right=f"{first} = set()\n{loop}",
        left_answer=" +=",
        right_answer=".add",
    )
'''

_TEXTS: dict[Format, str] = {"yaml": YAML, "jsonl": JSONL, "py": PYTHON}


def write_starter(name: str, format: Format) -> Path:
    """Write ``NAME.yaml``, ``NAME.jsonl`` or ``NAME.py`` and return its path.

    Args:
        name: the task's name; in another folder, its path without the ending.
        format: which of the three.

    Raises:
        TaskFileError: the name cannot be that of a task of one's own.
        ConfigError: the file is there already, or its folder is not.
    """
    path = Path(name).with_name(f"{Path(name).name.removesuffix(f'.{format}')}.{format}")
    problems = Problems(str(path))
    check_name(path.stem, Place(), problems)
    problems.refuse()
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}")
    text = _TEXTS[format].replace("@NAME@", path.stem).replace("@FILE@", path.name)
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(
            f"{path} is there already, and nothing is overwritten; choose another name"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
    return path
