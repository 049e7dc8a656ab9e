"""Tasks of a user's own: a file of a few lines, read, checked, and then a task like any other.

Read in this order: :mod:`files` (what endings mean), :mod:`jsonl` and :mod:`yaml_file` (a file as rows),
:mod:`listed` and :mod:`templates` (rows as pairs), :mod:`decorator` and :mod:`code` (a function instead),
:mod:`check` (with a tokenizer), :mod:`resolve` and :mod:`kept` (which task is meant), :mod:`starter` (a file
to begin with).

>>> task = resolve_task("list_or_dict.yaml")                        # doctest: +SKIP
>>> check_fit(task, tokenizer, 64, Problems(task.name)).last_token  # doctest: +SKIP
0.5
"""

from sparsecircuits.tasks.own.check import Checked, check_fit, last_token_share, require_fit
from sparsecircuits.tasks.own.decorator import own_task
from sparsecircuits.tasks.own.files import ENDINGS, Reading, read_task, try_task
from sparsecircuits.tasks.own.kept import is_of, keep_task, kept_files, read_kept, version_of
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.own.resolve import is_path, named_task, resolve_task

__all__ = [
    "ENDINGS",
    "Checked",
    "Problems",
    "Reading",
    "check_fit",
    "is_of",
    "is_path",
    "keep_task",
    "kept_files",
    "last_token_share",
    "named_task",
    "own_task",
    "read_kept",
    "read_task",
    "require_fit",
    "resolve_task",
    "try_task",
    "version_of",
]
